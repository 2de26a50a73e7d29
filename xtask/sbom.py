"""The bill of materials of the program, as CycloneDX 1.5: what is linked into it, and what the package brings along.

    sbom.py METADATA LOCK NOTICE ONNXRUNTIME SHA256 > porchlight.cdx.json

METADATA is what `cargo metadata --filter-platform TARGET` prints, LOCK is Cargo.lock (checksums), ONNXRUNTIME the version of the library that comes
along and SHA256 the hash of the wheel it is taken from. Crates that only tests, benches
or build scripts need are left out. Fails when a crate's licence is not one of ALLOWED: whoever adds such a crate decides that here, in
a review. The same inputs give the same bytes: no time, no random serial number.
"""

import json
import re
import sys
import tomllib

ALLOWED = {
    "MIT", "MIT-0", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Zlib", "0BSD", "Unlicense",
    "CC0-1.0", "Unicode-3.0", "IJG", "BSL-1.0", "NCSA",
}  # fmt: skip


def allowed(expression):
    """Whether an SPDX expression can be satisfied with what is allowed. `/` is cargo's old way to write OR."""
    words = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR ").replace(" WITH ", "_WITH_"))
    place = 0

    def word():
        return words[place] if place < len(words) else None

    def one():
        nonlocal place
        place += 1
        if words[place - 1] != "(":
            return words[place - 1].replace("_WITH_", " WITH ") in ALLOWED
        value = either()
        place += 1  # )
        return value

    def both():
        nonlocal place
        value = one()
        while word() == "AND":
            place += 1
            value = one() and value
        return value

    def either():
        nonlocal place
        value = both()
        while word() == "OR":
            place += 1
            value = both() or value
        return value

    return bool(words) and either()


def linked(metadata):
    """Ids of the packages that end up in the program: normal dependencies alone, and no macros, which run at build time."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    packages = {package["id"]: package for package in metadata["packages"]}
    macro = lambda key: any("proc-macro" in target["kind"] for target in packages[key]["targets"])
    start = next(key for key, package in packages.items() if package["name"] == "porchlight")
    found, waiting = set(), [start]
    while waiting:
        key = waiting.pop()
        if key in found or macro(key):
            continue
        found.add(key)
        for dep in nodes[key]["deps"]:
            if any(kind["kind"] is None for kind in dep["dep_kinds"]):
                waiting.append(dep["pkg"])
    order = lambda key: (packages[key]["name"], packages[key]["version"])
    edges = {
        key: sorted({dep["pkg"] for dep in nodes[key]["deps"] if dep["pkg"] in found}, key=order)
        for key in sorted(found, key=order)
    }
    return packages, start, edges


def main(metadata, lock, notice, onnxruntime, sha256):
    with open(metadata, encoding="utf-8") as file:
        metadata = json.load(file)
    with open(lock, "rb") as file:
        sums = {(p["name"], p["version"]): p.get("checksum") for p in tomllib.load(file)["package"]}
    with open(notice, encoding="utf-8") as file:
        notice = file.read()
    packages, start, edges = linked(metadata)
    crates = [packages[key] for key in edges if key != start]
    purl = lambda key: f"pkg:cargo/{packages[key]['name']}@{packages[key]['version']}"
    refused = [f"{c['name']} {c['version']}: {c['license']}" for c in crates if not allowed(c["license"] or "")]
    if refused:
        sys.exit("error: licences that nobody has allowed: " + "; ".join(refused))
    program = packages[start]
    components = []
    for crate in crates:
        name, version = crate["name"], crate["version"]
        entry = {
            "type": "library",
            "bom-ref": f"pkg:cargo/{name}@{version}",
            "name": name,
            "version": version,
            "purl": f"pkg:cargo/{name}@{version}",
            "licenses": [{"expression": crate["license"].replace("/", " OR ")}],
        }
        if sums.get((name, version)):
            entry["hashes"] = [{"alg": "SHA-256", "content": sums[(name, version)]}]
        components.append(entry)
    for row in re.findall(r"^\| (\w[\w-]*) weights \| `([^`]+)` \| ([\w.-]+)", notice, re.M):
        components.append({"type": "machine-learning-model", "name": row[0], "licenses": [{"license": {"id": row[2]}}]})
    components.append(
        {
            "type": "library",
            "bom-ref": f"pkg:pypi/onnxruntime@{onnxruntime}",
            "name": "onnxruntime",
            "version": onnxruntime,
            "purl": f"pkg:pypi/onnxruntime@{onnxruntime}",
            "hashes": [{"alg": "SHA-256", "content": sha256}],
            "licenses": [{"license": {"id": "MIT"}}],
        }
    )
    version = program["version"]
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": f"pkg:cargo/porchlight@{version}",
                "name": "porchlight",
                "version": version,
                "purl": f"pkg:cargo/porchlight@{version}",
                "licenses": [{"expression": program["license"]}],
            }
        },
        "components": components,
        "dependencies": [{"ref": purl(key), "dependsOn": [purl(dep) for dep in deps]} for key, deps in edges.items()],
    }
    json.dump(bom, sys.stdout, indent=1, sort_keys=False)
    print()
    print(f"{len(crates)} crates, {len(components) - len(crates) - 1} models, onnxruntime {onnxruntime}; every licence is allowed", file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])

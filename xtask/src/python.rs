//! Packages from the Python index: fetched by name, version and hash, unpacked without being installed.

use crate::fail::{Failure, Result};
use crate::proc::{PYTHON, Program};
use std::fs;
use std::path::{Path, PathBuf};

/// One file of a package, pinned.
pub(crate) struct Pin {
    /// The package.
    pub(crate) name: &'static str,
    /// Its version.
    pub(crate) version: &'static str,
    /// SHA-256 of the one wheel we mean.
    pub(crate) sha256: &'static str,
    /// The platforms to ask for, whatever this machine is.
    pub(crate) platforms: &'static [&'static str],
    /// The CPython the wheel was built for, as in `311`; none for wheels that any Python takes.
    pub(crate) python: Option<&'static str>,
}

/// Takes the members named on the command line, whatever their folder, out of a wheel, which is a zip. Only the wanted
/// base names are ever written, so a hostile path inside the archive has no way out of the folder.
const UNPACK: &str = r#"
import os, shutil, sys, zipfile
wheel, folder, wanted = sys.argv[1], sys.argv[2], set(sys.argv[3:])
with zipfile.ZipFile(wheel) as z:
    for info in z.infolist():
        name = os.path.basename(info.filename)
        if name in wanted:
            wanted.remove(name)
            with z.open(info) as source, open(os.path.join(folder, name), "wb") as dest:
                shutil.copyfileobj(source, dest)
if wanted:
    sys.exit("error: %s lacks %s" % (os.path.basename(wheel), ", ".join(sorted(wanted))))
"#;

/// Downloads `pin` with pip, which checks the hash, and puts its members `wanted` (base names) into `dest`.
pub(crate) fn fetch(pin: &Pin, wanted: &[&str], dest: &Path) -> Result {
    let Pin { name, version, sha256, platforms, python } = pin;
    let purpose = format!("fetching {name} {version}");
    let download = dest.join("download");
    fs::create_dir_all(&download).map_err(io(&download))?;
    let requirements = download.join("requirements.txt");
    fs::write(&requirements, format!("{name}=={version} --hash=sha256:{sha256}\n")).map_err(io(&requirements))?;

    let mut pip = PYTHON.command();
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]);
    pip.arg("--only-binary=:all:");
    for platform in *platforms {
        pip.args(["--platform", platform]);
    }
    if let Some(python) = python {
        pip.args(["--implementation", "cp", "--python-version", python, "--abi", &format!("cp{python}")]);
    }
    PYTHON.output(pip.arg("--dest").arg(&download).arg("--requirement").arg(&requirements), &purpose)?;

    let wheel = fs::read_dir(&download)
        .map_err(io(&download))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|ext| ext == "whl"))
        .ok_or_else(|| Failure::new(format!("{purpose}: pip said yes but left no wheel")))?;
    PYTHON.output(PYTHON.command().args(["-c", UNPACK]).arg(&wheel).arg(dest).args(wanted), &purpose)?;
    fs::remove_dir_all(&download).map_err(io(&download))
}

/// A virtual environment that holds exactly `xtask/requirements.txt`; its Python comes back.
pub(crate) fn venv() -> Result<PathBuf> {
    venv_of("venv", "xtask/requirements.txt")
}

/// The one of the MQTT bridge, which its tests and figures need.
pub(crate) fn mqtt_venv() -> Result<PathBuf> {
    venv_of("mqtt", "deploy/mqtt/requirements.txt")
}

/// The one of what porchlight is measured against.
pub(crate) fn peer_venv() -> Result<PathBuf> {
    venv_of("peer", "xtask/peer.txt")
}

fn venv_of(place: &str, listed: &str) -> Result<PathBuf> {
    let requirements = crate::root().join(listed);
    let pinned = fs::read_to_string(&requirements).map_err(io(&requirements))?;
    let dest = crate::tools().join(place);
    let python = dest.join("bin/python");
    let stamp = dest.join("requirements.txt");
    if fs::read_to_string(&stamp).is_ok_and(|held| held == pinned) && python.exists() {
        return Ok(python);
    }
    // Not a temporary folder and a rename as elsewhere: the scripts of a virtual environment hold its path. The stamp
    // is written last instead.
    crate::say(format_args!("making .tools/{place} with the packages of {listed}"));
    if dest.exists() {
        fs::remove_dir_all(&dest).map_err(io(&dest))?;
    }
    PYTHON.output(PYTHON.command().args(["-m", "venv"]).arg(&dest), &format!("making .tools/{place}"))?;
    let own = Program { name: "the python of a virtual environment", fix: "apt-get install python3-venv" };
    let mut pip = std::process::Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]);
    own.output(pip.args(["--require-hashes", "--requirement"]).arg(&requirements), &format!("filling .tools/{place}"))?;
    fs::write(&stamp, pinned).map_err(io(&stamp))?;
    Ok(python)
}

/// An I/O error with the path it happened at.
pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Failure + '_ {
    move |error| Failure::new(format!("{}: {error}", path.display()))
}

//! `cargo xtask deb`: the Debian package, made by `dpkg-deb`, which every Debian has.
//!
//! What is in it is the table [`FILES`] and what [`generated`] prints; both are laid out in a folder and packed. The same
//! sources give the same bytes: times are those of the last commit, owners are root, the order is dpkg's. After that it is
//! examined by lintian where that is installed, and, for this machine's architecture, installed, run and removed in a folder
//! that has nothing else in it but the C library ([`try_out`]).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cross::Cross;
use crate::fail::{Failure, Result};
use crate::proc::{self, Program};
use crate::python::io;
use crate::{say, setup, tools};

const DPKG_DEB: Program = Program { name: "dpkg-deb", fix: "run this on Debian 12 or in a container of it" };
const DPKG: Program = Program { name: "dpkg", fix: "run this on Debian 12 or in a container of it" };
const GIT: Program = Program { name: "git", fix: "apt-get install git" };
const GZIP: Program = Program { name: "gzip", fix: "apt-get install gzip" };
const LINTIAN: Program = Program { name: "lintian", fix: "apt-get install --no-install-recommends lintian" };
const LDD: Program = Program { name: "ldd", fix: "apt-get install libc-bin" };
const UNSHARE: Program = Program { name: "unshare", fix: "apt-get install util-linux" };
const STRIP: Program = Program { name: "strip", fix: "apt-get install binutils" };

/// The models whose weights are in the repository.
pub(crate) const MODELS: &[&str] = &["ssdlite-mobilenet-v2", "yunet", "sface"];

/// A file of the checkout: its place in the package, its mode, and whether it is compressed as documentation must be.
const FILES: &[(&str, &str, u32)] = &[
    ("deploy/systemd/porchlight-notify", "usr/lib/porchlight/porchlight-notify", 0o755),
    ("deploy/systemd/porchlight@.service", "usr/lib/systemd/system/porchlight@.service", 0o644),
    ("deploy/systemd/porchlight.sysusers", "usr/lib/sysusers.d/porchlight.conf", 0o644),
    ("deploy/systemd/gallery.conf", "usr/share/doc/porchlight/examples/gallery.conf", 0o644),
    ("deploy/porchlight.toml", "etc/porchlight/example.toml", 0o644),
    ("deploy/deb/postinst", "DEBIAN/postinst", 0o755),
    ("deploy/deb/prerm", "DEBIAN/prerm", 0o755),
    ("deploy/deb/postrm", "DEBIAN/postrm", 0o755),
    ("deploy/deb/lintian-overrides", "usr/share/lintian/overrides/porchlight", 0o644),
    ("README.md", "usr/share/doc/porchlight/README.md", 0o644),
    ("SECURITY.md", "usr/share/doc/porchlight/SECURITY.md", 0o644),
    ("docs/consent.md", "usr/share/doc/porchlight/consent.md", 0o644),
    ("NOTICE.md", "usr/share/doc/porchlight/NOTICE.md", 0o644),
];

/// What `help --as` prints, and where systems look for it.
const PAGES: &[(&str, &str)] = &[
    ("man", "usr/share/man/man1/porchlight.1"),
    ("bash", "usr/share/bash-completion/completions/porchlight"),
    ("zsh", "usr/share/zsh/vendor-completions/_porchlight"),
    ("fish", "usr/share/fish/vendor_completions.d/porchlight.fish"),
];

/// Compressed: what Debian's policy wants compressed, and what is large and read by people.
const COMPRESSED: &[&str] = &[
    "usr/share/man/man1/porchlight.1",
    "usr/share/doc/porchlight/README.md",
    "usr/share/doc/porchlight/SECURITY.md",
    "usr/share/doc/porchlight/consent.md",
    "usr/share/doc/porchlight/changelog",
    "usr/share/doc/porchlight/ThirdPartyNotices.txt",
];

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    /// As Debian calls it.
    arch: &'static str,
    /// With the program that `cargo build` makes: for work on the package.
    dev: bool,
}

fn understand(args: &[String]) -> Result<Asked> {
    let host = if std::env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" };
    let mut asked = Asked { arch: host, dev: false };
    let mut words = args.iter().map(String::as_str);
    while let Some(word) = words.next() {
        match (word, if word == "--arch" { words.next() } else { None }) {
            ("--dev", _) => asked.dev = true,
            ("--arch", Some("amd64")) => asked.arch = "amd64",
            ("--arch", Some("arm64")) => asked.arch = "arm64",
            _ => {
                return Err(Failure::usage(format!(
                    "deb takes [--arch amd64|arm64] [--dev], not `{}`",
                    args.join(" ")
                )));
            }
        }
    }
    if asked.arch != host && (asked.arch == "amd64" || asked.dev) {
        return Err(Failure::usage(format!("deb: {} is not made on {host}; --dev only for {host}", asked.arch)));
    }
    Ok(asked)
}

/// The program without the checkout's paths in it: it looks for library and models where the package puts them.
pub(crate) const NO_CHECKOUT: [&str; 2] = ["PORCHLIGHT_TOOLS", "PORCHLIGHT_MODELS_DIR"];

/// The chore.
pub(crate) fn run(args: &[String]) -> Result {
    let asked = understand(args)?;
    let host = asked.arch == if std::env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" };
    let arch = if asked.arch == "arm64" { "aarch64" } else { "x86_64" };
    let folder = crate::target().join("deb").join(asked.arch);
    let root = folder.join("root");
    if root.exists() {
        fs::remove_dir_all(&root).map_err(io(&root))?;
    }
    let (program, strip) = if host {
        setup::ensure(arch)?;
        let env = NO_CHECKOUT.map(|name| (name, std::ffi::OsString::new()));
        let profile: &[&str] = if asked.dev { &[] } else { &["--release"] };
        proc::cargo_with(&[&["build", "--bin", "porchlight"], profile].concat(), &env)?;
        let profile = if asked.dev { "debug/porchlight" } else { "release/porchlight" };
        (crate::target().join(profile), PathBuf::from("strip"))
    } else {
        let cross = Cross::ensure()?;
        (cross.build()?, cross.tool("strip"))
    };

    let put = |place: &str| -> Result<PathBuf> {
        let path = root.join(place);
        let parent = path.parent().unwrap_or(&root).to_owned();
        fs::create_dir_all(&parent).map_err(io(&parent))?;
        Ok(path)
    };
    let installed = put("usr/bin/porchlight")?;
    let mut command = Command::new(strip);
    command.args(["--strip-unneeded", "--remove-section=.comment", "--remove-section=.note", "-o"]);
    STRIP.output(command.arg(&installed).arg(&program), "stripping the program")?;
    let from = tools().join(format!("onnxruntime-{arch}"));
    copy(&from.join("libonnxruntime.so"), &put("usr/lib/porchlight/libonnxruntime.so")?, 0o644)?;
    let notices = "ThirdPartyNotices.txt";
    copy(&from.join(notices), &put(&format!("usr/share/doc/porchlight/{notices}"))?, 0o644)?;
    for (from, place, mode) in FILES {
        copy(&crate::root().join(from), &put(place)?, *mode)?;
    }
    let mut licences = Vec::new();
    for model in MODELS {
        let from = crate::root().join("models").join(model);
        for entry in fs::read_dir(&from).map_err(io(&from))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            match name.as_str() {
                // They are told in the package's copyright file.
                "LICENSE.txt" => licences.push((format!("models/{model}"), read(&entry.path())?)),
                _ => copy(&entry.path(), &put(&format!("usr/share/porchlight/models/{model}/{name}"))?, 0o644)?,
            }
        }
    }
    licences.push(("libonnxruntime.so".into(), read(&from.join("LICENSE"))?));
    generated(&root, &program, &asked, &licences, &put)?;
    for place in COMPRESSED {
        GZIP.output(GZIP.command().args(["-9", "-n", "-f"]).arg(root.join(place)), "compressing documentation")?;
    }
    modes(&root)?;

    let package = crate::target().join(format!("deb/porchlight_{}_{}.deb", version()?, asked.arch));
    let mut command = DPKG_DEB.command();
    command.args(["--root-owner-group", "-Zxz", "--build"]).arg(&root).arg(&package);
    DPKG_DEB.output(command.env("SOURCE_DATE_EPOCH", committed()?.0), "packing")?;
    let size = fs::metadata(&package).map_err(io(&package))?.len() >> 20;
    say(format_args!("deb: {} ({size} MB)", package.display()));
    examine(&package, asked.dev)?;
    if host {
        try_out(&package, &folder.join("trial"))?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(io(path))
}

fn write(path: &Path, text: &str) -> Result {
    fs::write(path, text).map_err(io(path))
}

fn copy(from: &Path, to: &Path, mode: u32) -> Result {
    fs::copy(from, to).map_err(io(from))?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).map_err(io(to))
}

/// Folders as packages have them, whatever the umask of this machine; files of ours are readable by all.
fn modes(folder: &Path) -> Result {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).map_err(io(folder))?;
    for entry in fs::read_dir(folder).map_err(io(folder))?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            modes(&path)?;
        } else {
            let mode = fs::metadata(&path).map_err(io(&path))?.permissions().mode();
            let mode = if mode & 0o100 == 0 { 0o644 } else { 0o755 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(io(&path))?;
        }
    }
    Ok(())
}

/// The package's version: that of Cargo.toml.
pub(crate) fn version() -> Result<String> {
    let text = read(&crate::root().join("Cargo.toml"))?;
    let found = text.lines().find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"').map(str::to_owned));
    found.ok_or_else(|| Failure::new("Cargo.toml: no version of the package"))
}

/// When the last commit was made: seconds, and as changelogs write it.
fn committed() -> Result<(String, String)> {
    let of = |form: &str| {
        let mut command = GIT.command();
        command.args(["log", "-1", "--date=rfc2822", &format!("--format={form}")]).current_dir(crate::root());
        GIT.output(&mut command, "asking for the last commit's time")
    };
    Ok((of("%ct")?, of("%cd")?))
}

/// What is made for the package: control files, pages, copyright, changelog.
fn generated(
    root: &Path,
    program: &Path,
    asked: &Asked,
    licences: &[(String, String)],
    put: &dyn Fn(&str) -> Result<PathBuf>,
) -> Result {
    // Pages are the same on every machine, so this machine's program prints those of the other architecture too.
    let here = match asked.arch == if std::env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" } {
        true => program.to_owned(),
        false => {
            proc::cargo(&["build", "--bin", "porchlight"], &[])?;
            crate::target().join("debug/porchlight")
        }
    };
    let porchlight = Program { name: "porchlight", fix: "cargo build" };
    for (form, place) in PAGES {
        let text = porchlight.output(Command::new(&here).args(["help", "--as", form]), "printing a page")?;
        write(&put(place)?, &format!("{text}\n"))?;
    }
    let version = version()?;
    let (_, date) = committed()?;
    write(
        &put("usr/share/doc/porchlight/changelog")?,
        &format!(
            "porchlight ({version}) unstable; urgency=medium\n\n  * See CHANGELOG.md of the sources.\n\n -- {}  {date}\n",
            maintainer()
        ),
    )?;
    let mit = read(&crate::root().join("LICENSE-MIT"))?;
    let mut copyright = format!(
        "porchlight\n\nLicensed under MIT, or Apache-2.0 as in /usr/share/common-licenses/Apache-2.0, at your choice.\n\n{mit}\n\
         What comes along, each under its own licence; NOTICE.md beside this file names the owners.\n"
    );
    for (what, text) in licences {
        let text = match text.contains("Apache License") && text.contains("Version 2.0") {
            true => "Apache-2.0: /usr/share/common-licenses/Apache-2.0".to_owned(),
            false => text.clone(),
        };
        copyright.push_str(&format!("\n---- {what}\n\n{}\n", text.trim_end()));
    }
    write(&put("usr/share/doc/porchlight/copyright")?, &copyright)?;
    write(&put("DEBIAN/conffiles")?, "/etc/porchlight/example.toml\n")?;
    let size = kilobytes(root)?;
    write(&put("DEBIAN/control")?, &control(&version, asked.arch, size))
}

/// Who answers for the package: whoever makes it, as Debian's tools have it (`DEBFULLNAME`, `DEBEMAIL`). Nobody has a mailbox for it
/// otherwise, and the domain that is reserved for saying so says so.
fn maintainer() -> String {
    let told = |name| std::env::var(name).ok().filter(|v| !v.is_empty() && !v.contains(['<', '>', '\n']));
    let name = told("DEBFULLNAME").unwrap_or_else(|| "The porchlight developers".to_owned());
    let mail = told("DEBEMAIL").unwrap_or_else(|| "nobody@porchlight.invalid".to_owned());
    format!("{name} <{mail}>")
}

fn control(version: &str, arch: &str, kilobytes: u64) -> String {
    format!(
        "Package: porchlight\nVersion: {version}\nArchitecture: {arch}\nMaintainer: {}\n\
         Installed-Size: {kilobytes}\nSection: video\nPriority: optional\n\
         Depends: libc6 (>= 2.36), libgcc-s1 (>= 4.2), libstdc++6 (>= 11), python3:any, systemd | systemd-standalone-sysusers\n\
         Suggests: jq, curl\n\
         Description: object and face recognition beside the camera, sealed\n \
         Reads frames from V4L2 cameras, recognises objects and faces on this\n \
         machine, and writes typed events, one JSON line at a time. The process\n \
         that sees pixels is sealed by the kernel: it can neither send nor store\n \
         them.\n",
        maintainer()
    )
}

fn kilobytes(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder).map_err(io(folder))?.flatten() {
        let path = entry.path();
        sum += match path.is_dir() {
            true => kilobytes(&path)?,
            false => fs::metadata(&path).map_err(io(&path))?.len().div_ceil(1024),
        };
    }
    Ok(sum)
}

/// Debian's own examiner, where it is installed.
fn examine(package: &Path, dev: bool) -> Result {
    if Command::new(LINTIAN.name).arg("--version").output().is_err() {
        say(format_args!("deb: not examined: lintian is not installed; try: {}", LINTIAN.fix));
        return Ok(());
    }
    let mut command = LINTIAN.command();
    command.args(["--fail-on", "error,warning", "--allow-root"]);
    if dev {
        command.args(["--suppress-tags", "unstripped-binary-or-object"]);
    }
    // It says everything on stdout, so that must be seen.
    let out = command.arg(package).output().map_err(|e| Failure::new(format!("lintian cannot be started: {e}")))?;
    let said = String::from_utf8_lossy(&out.stdout);
    for line in said.lines().filter(|l| !l.starts_with("N:")) {
        say(format_args!("deb: lintian: {line}"));
    }
    if !out.status.success() {
        return Err(Failure::new("deb: lintian is not content"));
    }
    say("deb: lintian: nothing at the level of errors and warnings");
    Ok(())
}

/// Installs the package into an empty folder, looks at a picture and runs the pipeline sealed in there, removes it, and sees
/// that nothing is left.
fn try_out(package: &Path, trial: &Path) -> Result {
    let root = fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
    if !root {
        say("deb: not tried: a chroot needs root; in a container: cargo xtask deb");
        return Ok(());
    }
    if trial.exists() {
        fs::remove_dir_all(trial).map_err(io(trial))?;
    }
    for place in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "etc", "proc", "dev", "tmp"] {
        fs::create_dir_all(trial.join(place)).map_err(io(trial))?;
    }
    for (place, text) in
        [("var/lib/dpkg/status", ""), ("var/lib/dpkg/available", ""), ("etc/group", "root:x:0:\n"), ("etc/passwd", "")]
    {
        write(&trial.join(place), text)?;
    }
    let dpkg = |args: &[&str], what: &str| {
        let mut command = DPKG.command();
        // No other package is in there; scripts run outside of it, with DPKG_ROOT.
        command.arg(format!("--root={}", trial.display())).args(["--force-depends", "--force-script-chrootless"]);
        DPKG.output(command.args(args), what)
    };
    dpkg(&["--install", &package.display().to_string()], "installing the package")?;
    let users = read(&trial.join("etc/passwd"))?;
    if !users.lines().any(|line| line.starts_with("porchlight:")) {
        return Err(Failure::new("deb: the package was installed and there is no user porchlight"));
    }
    let groups = read(&trial.join("etc/group"))?;
    if !groups.lines().any(|line| line.starts_with("video:") && line.ends_with("porchlight")) {
        return Err(Failure::new("deb: porchlight is not in the group video"));
    }

    // What Depends: names, as far as the program loads it.
    let mut libraries = Vec::new();
    for file in ["usr/bin/porchlight", "usr/lib/porchlight/libonnxruntime.so"] {
        let text = LDD.output(LDD.command().arg(trial.join(file)), "asking which libraries a program needs")?;
        libraries.extend(text.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned));
    }
    for library in &libraries {
        let to = trial.join(library.trim_start_matches('/'));
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(io(parent))?;
        }
        fs::copy(library, &to).map_err(io(Path::new(library)))?;
    }
    for picture in ["people.jpg", "cat.jpg"] {
        copy(&crate::root().join("samples").join(picture), &trial.join("tmp").join(picture), 0o644)?;
    }
    let inside = |args: &str| {
        let script =
            "mount -t proc proc \"$0/proc\" && mount --bind /dev \"$0/dev\" && exec chroot \"$0\" /usr/bin/porchlight ";
        let mut command = UNSHARE.command();
        command.args(["--mount", "--pid", "--fork", "sh", "-c", &format!("{script}{args}")]).arg(trial);
        UNSHARE.output(command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), &format!("porchlight {args}"))
    };
    let version = inside("--version")?;
    let seen = inside("detect /tmp/people.jpg")?;
    if seen.matches("\"label\":\"person\"").count() < 2 {
        return Err(Failure::new(format!("deb: two persons are on people.jpg, the installed program sees {seen}")));
    }
    let told = inside("run --source /tmp/cat.jpg --source /tmp/people.jpg")?;
    let wanted = ["\"type\":\"hello\"", "\"seccomp\":\"enforced\"", "\"type\":\"bye\""];
    if let Some(missing) = wanted.iter().find(|word| !told.contains(*word)) {
        return Err(Failure::new(format!("deb: the installed program's run lacks {missing}: {told}")));
    }
    say(format_args!("deb: installed {version}; it detects, and runs sealed"));

    dpkg(&["--purge", "porchlight"], "removing the package")?;
    let left: Vec<_> = ["usr/bin/porchlight", "usr/lib/porchlight", "usr/share/porchlight", "etc/porchlight"]
        .into_iter()
        .filter(|place| trial.join(place).exists())
        .collect();
    if !left.is_empty() {
        return Err(Failure::new(format!("deb: a purge leaves {}", left.join(", "))));
    }
    say("deb: removed, and nothing is left");
    fs::remove_dir_all(trial).map_err(io(trial))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn what_is_asked_is_understood_or_refused() {
        assert!(understand(&[]).is_ok() && understand(&words("--dev")).is_ok_and(|asked| asked.dev));
        for wrong in ["--arch", "--arch m68k", "--fast", "arm64"] {
            assert_eq!(understand(&words(wrong)).unwrap_err().code, crate::fail::USAGE, "{wrong}");
        }
        if std::env::consts::ARCH == "x86_64" {
            assert!(understand(&words("--arch arm64 --dev")).is_err());
        }
    }

    #[test]
    fn everything_that_goes_into_the_package_is_there() {
        for (from, ..) in FILES {
            assert!(crate::root().join(from).is_file(), "{from}");
        }
        for model in MODELS {
            assert!(crate::root().join("models").join(model).join("card.toml").is_file(), "{model}");
        }
        assert!(version().is_ok_and(|v| v.split('.').count() == 3));
    }

    #[test]
    fn the_control_file_has_no_line_that_ends_a_paragraph() {
        let text = control("1.2.3", "arm64", 7);
        assert!(text.ends_with('\n') && !text.contains("\n\n"));
        assert!(text.lines().all(|l| l.starts_with(' ') || l.contains(": ")), "{text}");
    }
}

//! Who opens a camera: this process, or the warden of a sealed one.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat, inotify, major, minor};

use super::camera;

/// Opens one camera, again and again.
pub trait Opener: Send {
    /// A descriptor of the device, non-blocking, closed on exec, and for reading alone where a camera can be had that way. May
    /// wait up to about 200 ms for a device that is not there, so that it is found as soon as it appears.
    ///
    /// # Errors
    /// `NotFound` (or `ENODEV`, `ENXIO`): there is no such device now. `InvalidInput`: what is there is no device. Anything
    /// else: it is there and cannot be opened.
    fn open(&mut self) -> io::Result<OwnedFd>;
}

/// How long an absent device is waited for in one call.
const PATIENCE: Duration = Duration::from_millis(200);

/// An absent device is looked for this often when nothing tells that it may be back.
const LOOK_ANYWAY: Duration = Duration::from_secs(1);

/// What tells a camera from another, without opening it: from sysfs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Identity {
    /// The name that the driver gave the node.
    name: String,
    /// Which of the nodes of its device.
    index: String,
    /// Vendor, product and serial number of a USB device; empty where there is none.
    usb: [String; 3],
    /// Where it is plugged in.
    port: Option<PathBuf>,
}

impl Identity {
    fn same_kind(&self, other: &Self) -> bool {
        (&self.name, &self.index, &self.usb) == (&other.name, &other.index, &other.usb)
    }

    fn has_serial(&self) -> bool {
        !self.usb[2].is_empty()
    }

    /// Reads a folder such as `/sys/class/video4linux/video0`.
    fn read(node: &Path) -> Option<Self> {
        let line = |path: PathBuf| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        let port = std::fs::canonicalize(node.join("device")).ok();
        // The device link of a USB camera leads to its interface; the numbers are one above.
        let usb = ["idVendor", "idProduct", "serial"].map(|file| {
            port.as_deref().and_then(Path::parent).and_then(|device| line(device.join(file))).unwrap_or_default()
        });
        Some(Self { name: line(node.join("name"))?, index: line(node.join("index")).unwrap_or_default(), usb, port })
    }
}

/// The node that is `wanted` now. A serial number decides; else the same kind of camera at the same port; else the only one of
/// its kind, unless there were `twins` when it was seen first.
fn follow<'a>(wanted: &Identity, twins: bool, present: &'a [(PathBuf, Identity)]) -> Option<&'a Path> {
    let kin = || present.iter().filter(|(_, found)| found.same_kind(wanted));
    let there = kin().find(|(_, found)| found.port.is_some() && found.port == wanted.port);
    let only = || kin().next().filter(|_| wanted.has_serial() || (!twins && kin().count() == 1));
    there.or_else(only).map(|(path, _)| path.as_path())
}

/// Opens a path, in this process.
///
/// A name below `/dev/v4l/` says which camera is meant, and is opened as it stands. A plain node such as `/dev/video0` says so
/// only once: the camera that was found there first is followed to wherever it comes back, and another one that takes its place
/// is left alone.
pub struct PathOpener {
    path: PathBuf,
    /// Tells that something appeared beside the path; `None` where the system has no more of these.
    watch: Option<OwnedFd>,
    known: Option<(Identity, bool)>,
    sysfs: PathBuf,
    /// When it was last looked for and not there.
    missed: Option<Instant>,
}

impl PathOpener {
    /// For this device node or link to one. Nothing is opened yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), watch: None, known: None, sysfs: "/sys/class/video4linux".into(), missed: None }
    }

    fn present(&self) -> Vec<(PathBuf, Identity)> {
        let entries = std::fs::read_dir(&self.sysfs).into_iter().flatten().flatten();
        let mut found: Vec<_> = entries
            .filter_map(|entry| Some((Path::new("/dev").join(entry.file_name()), Identity::read(&entry.path())?)))
            .collect();
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        found
    }

    fn is_link(&self) -> bool {
        std::fs::symlink_metadata(&self.path).is_ok_and(|meta| meta.file_type().is_symlink())
    }

    /// Begins to watch the folder, so that [`PathOpener::glance`] needs no call but `read`.
    pub(crate) fn prepare(&mut self) {
        if self.watch.is_none() {
            let _ = self.news();
        }
    }

    /// As [`Opener::open`], without waiting for what is not there, and without looking again for what was not there before
    /// something has appeared in the folder: whoever asks may ask as often as they like. (Now and then it is looked for anyway: a
    /// folder of links may itself have come and gone.)
    pub(crate) fn glance(&mut self) -> io::Result<OwnedFd> {
        let news = self.news();
        if !news && self.missed.is_some_and(|last| last.elapsed() < LOOK_ANYWAY) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let opened = self.try_once();
        self.missed = opened.as_ref().err().filter(|error| is_absent(error)).map(|_| Instant::now());
        opened
    }

    /// As [`Opener::open`], without waiting for what is not there.
    fn try_once(&mut self) -> io::Result<OwnedFd> {
        let target = match &self.known {
            Some((identity, twins)) if !self.is_link() => {
                let present = self.present();
                follow(identity, *twins, &present).ok_or(io::ErrorKind::NotFound)?.to_owned()
            }
            _ => self.path.clone(),
        };
        let fd = open_node(&target, OFlags::RDONLY)?;
        let stat = fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let node = format!("/sys/dev/char/{}:{}", major(stat.st_rdev), minor(stat.st_rdev));
        if let Some(identity) = Identity::read(Path::new(&node)) {
            let before = self.known.take().map(|(_, twins)| twins);
            let twins = || self.present().iter().filter(|(_, other)| other.same_kind(&identity)).count() > 1;
            let twins = before.unwrap_or_else(twins);
            self.known = Some((identity, twins));
        }
        if !camera::needs_writing(fd.as_fd()) {
            return Ok(fd);
        }
        // One at a time, for drivers that let nobody else in.
        drop(fd);
        let again = open_node(&target, OFlags::RDWR)?;
        let same = fstat(&again)?.st_rdev == stat.st_rdev && camera::needs_writing(again.as_fd());
        // Another one has taken its place in between.
        if same { Ok(again) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// Waits until something appears beside the path (a node, its final permissions), or for the patience to end.
    fn wait(&self) {
        let Some(watch) = &self.watch else {
            std::thread::sleep(PATIENCE);
            return;
        };
        let patience = Timespec { tv_sec: 0, tv_nsec: i64::from(PATIENCE.subsec_nanos()) };
        // An error means no waiting; the caller asks again anyway, at its own pace.
        let _ = poll(&mut [PollFd::new(watch, PollFlags::IN)], Some(&patience));
    }

    /// Reads away what the watch has told so far and says whether there was anything; makes the watch the first time.
    fn news(&mut self) -> bool {
        let Some(watch) = &self.watch else {
            let folder = self.path.parent().filter(|folder| folder.is_dir()).unwrap_or(Path::new("/dev"));
            self.watch = watch_folders(&[folder, Path::new("/dev")]).ok();
            return true;
        };
        let mut bytes = [0u8; 4096];
        let mut any = false;
        while rustix::io::read(watch.as_fd(), &mut bytes).is_ok_and(|read| read > 0) {
            any = true;
        }
        any
    }
}

fn open_node(path: &Path, access: OFlags) -> io::Result<OwnedFd> {
    let flags = access | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    rustix::fs::openat(rustix::fs::CWD, path, flags, Mode::empty()).map_err(|error| match error {
        // A folder.
        rustix::io::Errno::ISDIR => io::ErrorKind::InvalidInput.into(),
        other => io::Error::from(other),
    })
}

fn watch_folders(folders: &[&Path]) -> io::Result<OwnedFd> {
    use inotify::{CreateFlags, WatchFlags};
    let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    for folder in folders {
        inotify::add_watch(&watch, *folder, WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ATTRIB)?;
    }
    Ok(watch)
}

/// Whether an error says that there is no such device, now.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    error.kind() == io::ErrorKind::NotFound || matches!(errno, Some(Errno::NODEV | Errno::NXIO))
}

impl Opener for PathOpener {
    fn open(&mut self) -> io::Result<OwnedFd> {
        // First, so that what appears while we look is not missed.
        let _ = self.news();
        match self.try_once() {
            Err(error) if is_absent(&error) => {
                self.wait();
                self.try_once()
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn camera(name: &str, serial: &str, port: &str) -> Identity {
        Identity {
            name: name.into(),
            index: "0".into(),
            usb: ["046d".into(), "0825".into(), serial.into()],
            port: Some(port.into()),
        }
    }

    #[test]
    fn a_camera_is_followed_and_never_mistaken() {
        let mine = camera("cam", "", "usb1/1-1");
        let at = |node: &str, identity: Identity| (PathBuf::from(node), identity);
        let moved = [at("/dev/video4", camera("cam", "", "usb1/1-2"))];
        assert_eq!(follow(&mine, false, &moved), Some(Path::new("/dev/video4")));
        assert_eq!(follow(&mine, true, &moved), None, "it may be its twin");
        let both = [at("/dev/video0", camera("cam", "", "usb1/1-2")), at("/dev/video2", mine.clone())];
        assert_eq!(follow(&mine, true, &both), Some(Path::new("/dev/video2")), "its port");
        let other = [at("/dev/video0", camera("other", "", "usb1/1-1"))];
        assert_eq!(follow(&mine, false, &other), None);
        let known = camera("cam", "A1", "usb1/1-1");
        assert_eq!(
            follow(&known, true, &[at("/dev/video9", camera("cam", "A1", "usb2/2-1"))]),
            Some(Path::new("/dev/video9"))
        );
        assert_eq!(follow(&known, false, &[at("/dev/video0", camera("cam", "B2", "usb1/1-1"))]), None);
        let meta = Identity { index: "1".into(), ..mine.clone() };
        assert_eq!(follow(&mine, false, &[at("/dev/video1", meta)]), None, "the node beside it");
    }

    #[test]
    fn what_is_no_device_is_said_so_at_once() {
        for path in ["/", "Cargo.toml", "/etc/passwd"] {
            let error = PathOpener::new(path).open().unwrap_err();
            assert!(
                error.kind() == io::ErrorKind::InvalidInput || error.kind() == io::ErrorKind::PermissionDenied,
                "{error}"
            );
        }
        assert!(PathOpener::new("/dev/null").open().is_ok(), "a device, if no camera");
    }

    #[test]
    fn what_appears_is_found_before_the_patience_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("video0");
        let mut opener = PathOpener::new(&path);
        let begun = Instant::now();
        assert!(is_absent(&opener.open().unwrap_err()));
        assert!(begun.elapsed() >= PATIENCE, "it waited");
        let appears = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            std::os::unix::fs::symlink("/dev/null", path).unwrap();
            Instant::now()
        });
        assert!(opener.open().is_ok());
        assert!(appears.join().unwrap().elapsed() < Duration::from_millis(100));
    }

    #[test]
    fn a_glance_looks_again_when_something_has_appeared() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("video0");
        let mut opener = PathOpener::new(&path);
        opener.prepare();
        assert!(is_absent(&opener.glance().unwrap_err()));
        // As if it were looked for an hour later, so that only the news counts.
        opener.missed = Some(Instant::now() + Duration::from_secs(3600));
        assert!(is_absent(&opener.glance().unwrap_err()));
        std::os::unix::fs::symlink("/dev/null", path).unwrap();
        assert!(opener.glance().is_ok());
        assert!(opener.missed.is_none());
    }

    proptest! {
        /// Whatever is plugged in, what is opened is of the wanted kind, and of the wanted serial number if it has one.
        #[test]
        fn only_its_kind_is_followed(
            cameras in prop::collection::vec((0..3u8, 0..3u8, 0..4u8), 0..6), serial in 0..3u8, twins: bool,
        ) {
            let make = |(name, serial, port): (u8, u8, u8)| {
                let serial = if serial == 0 { String::new() } else { serial.to_string() };
                camera(&name.to_string(), &serial, &port.to_string())
            };
            let wanted = make((0, serial, 0));
            let present: Vec<_> =
                cameras.into_iter().map(make).enumerate().map(|(n, c)| (PathBuf::from(n.to_string()), c)).collect();
            if let Some(path) = follow(&wanted, twins, &present) {
                let (_, found) = present.iter().find(|(p, _)| p == path).unwrap();
                prop_assert!(found.same_kind(&wanted));
                prop_assert!(found.port == wanted.port || wanted.has_serial() || !twins);
            }
        }
    }
}

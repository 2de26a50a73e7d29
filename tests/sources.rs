//! What `run` says to sources, cameras and a library that cannot be used: one line, the right exit code, before anything
//! starts.

use std::path::Path;

use crate::support::{assert_refused, porchlight, sample};

fn write(dir: &Path, name: &str, bytes: &[u8]) -> String {
    let path = dir.join(name);
    std::fs::write(&path, bytes).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn files_that_hold_no_frame_are_refused_with_exit_4() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    let jpeg = std::fs::read(sample("cat.jpg")).expect("committed");
    let header = b"YUV4MPEG2 W64 H48 F10:1 C420jpeg\n";
    for (name, bytes, wanted) in [
        ("empty.mjpeg", &b""[..], "empty.mjpeg"),
        ("text.mjpeg", b"nothing to see here", "text.mjpeg"),
        ("cut.mjpeg", &jpeg[..jpeg.len() / 3], "cut.mjpeg"),
        ("empty.y4m", b"", "empty.y4m"),
        ("head.y4m", header, "head.y4m"),
        ("cut.y4m", &[&header[..], b"FRAME\n", &[0; 99]].concat(), "cut.y4m"),
        ("deep.y4m", b"YUV4MPEG2 W64 H48 F10:1 C420p10\nFRAME\n", "420p10"),
        ("huge.y4m", b"YUV4MPEG2 W99999 H99999 F10:1\nFRAME\n", "8192x8192"),
        ("zero.y4m", b"YUV4MPEG2 W0 H0 F10:1\nFRAME\n", "zero.y4m"),
        ("rate.y4m", b"YUV4MPEG2 W64 H48 F0:0\nFRAME\n", "rate.y4m"),
        ("no-size.y4m", b"YUV4MPEG2 F10:1\nFRAME\n", "no-size.y4m"),
        ("long.y4m", &[&b"YUV4MPEG2 "[..], &[b'X'; 100_000]].concat(), "long.y4m"),
        ("movie.mp4", b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2", "movie.mp4"),
        ("empty.jpg", b"", "empty.jpg"),
        ("text.jpg", b"hello, I am text", "text.jpg"),
    ] {
        let path = write(dir, name, bytes);
        assert_refused(porchlight().args(["run", "--source", &path]), 4, &[wanted]);
    }
    std::fs::create_dir(dir.join("folder")).expect("made");
    let folder = dir.join("folder").to_str().expect("UTF-8").to_owned();
    for (source, wanted) in [
        (folder.clone(), "folder"),
        (format!("{folder}/*.jpg"), "*.jpg"),
        (format!("{folder}/none.mjpeg"), "none.mjpeg"),
        ("synth:0x0@30".to_owned(), "synth:0x0@30"),
    ] {
        let output = porchlight().args(["run", "--source", &source]).output().expect("starts");
        let code = output.status.code();
        assert!(code == Some(4) || code == Some(2), "{source}: {code:?}");
        assert_refused(porchlight().args(["run", "--source", &source]), code.unwrap_or(0), &[wanted]);
    }
}

/// The magic is right, every byte behind it is not: found out by the decoder, after the stream has begun, and told.
#[test]
fn a_file_without_one_good_frame_ends_with_exit_4() {
    let dir = tempfile::tempdir().expect("a folder");
    let jpeg = std::fs::read(sample("cat.jpg")).expect("committed");
    let path = write(dir.path(), "cut.jpg", &jpeg[..jpeg.len() / 2]);
    let output = porchlight().args(["run", "--source", &path]).output().expect("starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), stderr.lines().count()), (Some(4), 1), "{stderr}");
    assert!(stderr.contains("cut"), "{stderr}");
}

#[test]
fn a_camera_that_is_none_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = write(dir.path(), "video0", b"not a device");
    for device in ["/dev/null", "/dev/zero"] {
        assert_refused(porchlight().args(["run", "--camera", device]), 4, &[device]);
    }
    assert_refused(porchlight().args(["run", "--camera", &file]), 4, &["video0"]);
}

#[test]
fn a_missing_library_names_the_command_that_fetches_it() {
    let missing =
        porchlight().args(["run", "--source", "samples/cat.jpg"]).env("ORT_DYLIB_PATH", "/none/lib.so").output();
    let stderr = String::from_utf8(missing.expect("starts").stderr).expect("UTF-8");
    assert!(stderr.contains("cargo xtask setup"), "{stderr}");
    assert_refused(
        porchlight().args(["run", "--source", "samples/cat.jpg"]).env("ORT_DYLIB_PATH", "/none/lib.so"),
        3,
        &["/none/lib.so", "cargo xtask setup"],
    );
    let dir = tempfile::tempdir().expect("a folder");
    let text = write(dir.path(), "libonnxruntime.so", b"not a library");
    assert_refused(
        porchlight().args(["detect", "samples/cat.jpg"]).env("ORT_DYLIB_PATH", &text),
        3,
        &["libonnxruntime.so", "cargo xtask setup"],
    );
}

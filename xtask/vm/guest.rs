//! What the scripts of the camera test bed need and busybox lacks. Compiled by `cargo xtask vm` with rustc alone, static.
//!
//! ```text
//! guest mark WORDS...                     a line of the record
//! guest tag ID STREAM LOG                 stdin into the record (and into LOG), line by line, each with its time
//! guest ctl DEVICE NAME VALUE             sets a V4L2 control
//! guest feed DEVICE FOURCC W H FPS FILE.. writes the files as frames, over and over, into a v4l2loopback device
//! guest quit CODE                         ends the machine: QEMU exits with CODE * 2 + 1
//! ```
//! The record is the second serial line: `SECONDS ID KIND TEXT`.

use std::ffi::{c_int, c_ulong, c_void};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

unsafe extern "C" {
    fn ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int;
    fn flock(fd: c_int, operation: c_int) -> c_int;
}

const S_FMT: c_ulong = 0xc0d0_5605;
const S_CTRL: c_ulong = 0xc008_561c;
const QUERY_EXT_CTRL: c_ulong = 0xc0e8_5667;

fn call<T>(file: &File, request: c_ulong, argument: &mut T) -> io::Result<()> {
    // SAFETY: the size within `request` is that of `T`, and `argument` lives through the call.
    match unsafe { ioctl(file.as_raw_fd(), request, std::ptr::from_mut(argument).cast()) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn record(id: &str, kind: &str, text: &str) -> io::Result<()> {
    let uptime = std::fs::read_to_string("/proc/uptime")?;
    let now = uptime.split(' ').next().unwrap_or("0");
    let lock = OpenOptions::new().create(true).append(true).open("/tmp/record.lock")?;
    // SAFETY: a plain call with a descriptor that lives until the end of this function. 2 is LOCK_EX.
    unsafe { flock(lock.as_raw_fd(), 2) };
    let mut out = OpenOptions::new().write(true).open("/dev/ttyS1")?;
    out.write_all(format!("{now} {id} {kind} {text}\n").as_bytes())
}

fn tag(id: &str, stream: &str, log: &str) -> io::Result<()> {
    let mut log = OpenOptions::new().create(true).append(true).open(log)?;
    for line in io::stdin().lock().split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        log.write_all(format!("{line}\n").as_bytes())?;
        record(id, stream, &line)?;
    }
    Ok(())
}

#[repr(C)]
struct Query {
    id: u32,
    kind: u32,
    name: [u8; 32],
    rest: [u64; 24],
}

fn ctl(device: &str, name: &str, value: i32) -> io::Result<()> {
    let device = OpenOptions::new().read(true).write(true).open(device)?;
    let mut query = Query { id: 0, kind: 0, name: [0; 32], rest: [0; 24] };
    loop {
        query.id |= 0x8000_0000;
        call(&device, QUERY_EXT_CTRL, &mut query)
            .map_err(|e| io::Error::new(e.kind(), format!("no control {name:?} ({e})")))?;
        let length = query.name.iter().position(|b| *b == 0).unwrap_or(32);
        if &query.name[..length] == name.as_bytes() {
            return call(&device, S_CTRL, &mut [query.id, value as u32]);
        }
    }
}

fn feed(device: &str, fourcc: &str, numbers: [u32; 3], files: &[String]) -> io::Result<()> {
    let [width, height, fps] = numbers;
    let frames = files.iter().map(std::fs::read).collect::<io::Result<Vec<_>>>()?;
    let longest = frames.iter().map(Vec::len).max().unwrap_or(0) as u32;
    let code = fourcc.bytes().rev().fold(0, |code, byte| code << 8 | u32::from(byte));
    let mut out = OpenOptions::new().read(true).write(true).open(device)?;
    // struct v4l2_format: type (2 is output), a hole, then width, height, pixelformat, field, bytesperline, sizeimage.
    let mut format = [0u32; 52];
    (format[0], format[2], format[3], format[4], format[5], format[7]) = (2, width, height, code, 1, longest);
    call(&out, S_FMT, &mut format)?;
    let begin = Instant::now();
    for (count, frame) in (1u32..).zip(frames.iter().cycle()) {
        out.write_all(frame)?;
        let due = Duration::from_secs_f64(f64::from(count) / f64::from(fps.max(1)));
        std::thread::sleep(due.saturating_sub(begin.elapsed()));
    }
    Ok(())
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse().unwrap_or(0);
    let done = match words[..] {
        ["mark", ..] => record("-", "mark", &args[1..].join(" ")),
        ["tag", id, stream, log] => tag(id, stream, log),
        ["ctl", device, name, value] => ctl(device, name, value.parse().unwrap_or(0)),
        ["feed", device, fourcc, w, h, fps, ..] => feed(device, fourcc, [number(w), number(h), number(fps)], &args[6..]),
        ["quit", code] => OpenOptions::new().write(true).open("/dev/port").and_then(|mut port| {
            port.seek(SeekFrom::Start(0xf4))?;
            port.write_all(&[code.parse().unwrap_or(1)])
        }),
        _ => Err(io::Error::other("not understood")),
    };
    if let Err(error) = done {
        eprintln!("guest {}: {error}", args.join(" "));
        std::process::exit(1);
    }
}

//! What the scripts of the camera test bed need and busybox lacks. Compiled by `cargo xtask vm` with rustc alone, static.
//!
//! ```text
//! guest mark WORDS...                     a line of the record
//! guest tag ID STREAM LOG                 stdin into the record (and into LOG), line by line, each with its time
//! guest ctl DEVICE NAME VALUE             sets a V4L2 control
//! guest feed DEVICE FOURCC W H FPS FILE.. writes the files as frames, over and over, into a v4l2loopback device
//! guest uvc GADGET W H FPS JPEG           is a USB camera (UVC, MJPEG over a bulk endpoint) at the other end of dummy_hcd
//! guest calls RECORD                     which calls eye and gatekeeper made once sealed, of a recording by strace -f
//! guest quit CODE                         ends the machine: QEMU exits with CODE * 2 + 1
//! ```
//! The record is the second serial line: `SECONDS ID KIND TEXT`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{c_int, c_ulong, c_void};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Read, Seek, SeekFrom, Write};
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

/// What a USB camera says of itself: interfaces for control and streaming, one format, one size, one rate.
fn uvc_configuration(packet: u16, width: u16, height: u16, interval: u32) -> Vec<u8> {
    let (w, h, i) = (width.to_le_bytes(), height.to_le_bytes(), interval.to_le_bytes());
    let most = UVC_PAYLOAD.to_le_bytes();
    let control: &[&[u8]] = &[
        &[8, 0x0b, 0, 2, 0x0e, 3, 0, 0],
        &[9, 4, 0, 0, 0, 0x0e, 1, 0, 0],
        // Header, camera terminal, output terminal.
        &[13, 0x24, 1, 0x00, 0x01, 40, 0, 0x80, 0x8d, 0x5b, 0, 1, 1],
        &[18, 0x24, 2, 1, 0x01, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0],
        &[9, 0x24, 3, 2, 0x01, 0x01, 0, 1, 0],
    ];
    let [p0, p1] = packet.to_le_bytes();
    let streaming: &[&[u8]] = &[
        &[9, 4, 1, 0, 1, 0x0e, 2, 0, 0],
        // Header, format MJPEG, its one frame size, colours.
        &[14, 0x24, 1, 1, 61, 0, 0x81, 0, 2, 0, 0, 0, 1, 0],
        &[11, 0x24, 6, 1, 1, 1, 1, 0, 0, 0, 0],
        &[30, 0x24, 7, 1, 0, w[0], w[1], h[0], h[1], 0, 0, 0x10, 0, 0, 0, 0x10, 0],
        &most,
        &i,
        &[1],
        &i,
        &[6, 0x24, 0x0d, 1, 1, 4],
        &[7, 5, 0x81, 2, p0, p1, 0],
    ];
    let body: Vec<u8> = control.iter().chain(streaming).flat_map(|part| part.iter().copied()).collect();
    let [t0, t1] = (9 + body.len() as u16).to_le_bytes();
    [&[9, 2, t0, t1, 2, 1, 0, 0x80, 50][..], &body].concat()
}

/// Most bytes of a frame with its header.
const UVC_PAYLOAD: u32 = 1 << 17;

/// The camera's side of the negotiation: whatever is asked for, this is what there is.
fn uvc_probe(interval: u32) -> Vec<u8> {
    let mut probe = vec![0u8; 26];
    (probe[2], probe[3]) = (1, 1);
    probe[4..8].copy_from_slice(&interval.to_le_bytes());
    probe[18..22].copy_from_slice(&UVC_PAYLOAD.to_le_bytes());
    probe[22..26].copy_from_slice(&UVC_PAYLOAD.to_le_bytes());
    probe
}

fn uvc(gadget: &str, [width, height, fps]: [u32; 3], jpeg: &str) -> io::Result<()> {
    let picture = std::fs::read(jpeg)?;
    let interval = 10_000_000 / fps.max(1);
    let mut ep0 = OpenOptions::new().read(true).write(true).open(format!("/dev/gadget/{gadget}"))?;
    let device = [18, 1, 0, 2, 0xef, 2, 1, 64, 0x6b, 0x1d, 0x02, 0x01, 0, 1, 0, 1, 2, 1];
    let configuration = |packet| uvc_configuration(packet, width as u16, height as u16, interval);
    let all = [&[0; 4][..], &configuration(64), &configuration(512), &device].concat();
    ep0.write_all(&all)?;
    let mut streaming = false;
    loop {
        let mut event = [0u8; 12];
        ep0.read_exact(&mut event)?;
        let [kind, request, value, selector, index, _, l0, l1, what, ..] = event;
        let length = usize::from(u16::from_le_bytes([l0, l1]));
        // 3 is a request; plug and unplug need no answer.
        if what != 3 {
            continue;
        }
        let answer: Option<Vec<u8>> = match (kind, request) {
            // Texts: the languages, the product, the serial number.
            (0x80, 6) if selector == 3 => {
                let text = match value {
                    0 => vec![4, 3, 9, 4],
                    1 => text_descriptor("Porch Cam"),
                    _ => text_descriptor("PL0001"),
                };
                Some(text)
            }
            (0xa1, 0x85) if index == 1 => Some(vec![26, 0]),
            (0xa1, 0x86) if index == 1 => Some(vec![3]),
            (0xa1, 0x81..=0x87) if index == 1 => Some(uvc_probe(interval)),
            _ => None,
        };
        match answer {
            Some(mut answer) => {
                answer.truncate(length);
                let _ = ep0.write(&answer);
            }
            // Asked for what there is not: reading where an answer is wanted is how this interface says no.
            None if kind & 0x80 != 0 => {
                let _ = ep0.read(&mut [0u8; 0]);
            }
            None => {
                // SET_CONFIGURATION: the endpoint comes to life.
                if (kind, request) == (0, 9) && !streaming {
                    streaming = true;
                    let endpoint = OpenOptions::new().read(true).write(true).open("/dev/gadget/ep1in-bulk");
                    let mut endpoint = endpoint.or_else(|_| OpenOptions::new().read(true).write(true).open("/dev/gadget/ep-a"))?;
                    let descriptor = |packet: u16| [7, 5, 0x81, 2, packet.to_le_bytes()[0], packet.to_le_bytes()[1], 0];
                    endpoint.write_all(&[&[1, 0, 0, 0][..], &descriptor(64), &descriptor(512)].concat())?;
                    let picture = picture.clone();
                    std::thread::spawn(move || {
                        let mut odd = 0;
                        loop {
                            let mut payload = vec![2, 0x82 | odd];
                            payload.extend_from_slice(&picture);
                            // A payload ends with a packet that is not full.
                            if payload.len() % 512 == 0 {
                                payload.push(0);
                            }
                            if endpoint.write(&payload).is_err() {
                                std::thread::sleep(Duration::from_millis(50));
                            }
                            odd ^= 1;
                            std::thread::sleep(Duration::from_secs_f64(1.0 / f64::from(fps.max(1))));
                        }
                    });
                }
                let mut taken = vec![0u8; length];
                let _ = ep0.read(&mut taken);
            }
        }
    }
}

fn text_descriptor(text: &str) -> Vec<u8> {
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    [&[2 + utf16.len() as u8, 3][..], &utf16].concat()
}

/// Marks `calls ROLE NAMES...` and `ioctls ROLE NAMES...`. A line of the recording is `PID call(arguments) = result`; whose
/// parent is an eye is one, and who has put its last filter in place is sealed: two of its own for an eye, one for the rest.
fn calls(path: &str) -> io::Result<()> {
    let text = String::from_utf8_lossy(&std::fs::read(path)?).into_owned();
    let first = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    let warden = text.lines().next().map(first).unwrap_or_default();
    let began = text.lines().find(|line| line.contains("execve(") && line.contains("[\"porchlight\", \"eye\""));
    let eye = began.map(first).ok_or_else(|| io::Error::other("no eye was started"))?;
    let mut eyes = BTreeSet::from([eye.clone()]);
    let mut filters: BTreeMap<String, usize> = BTreeMap::new();
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines() {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if eyes.contains(pid) && (rest.starts_with("clone") || rest.starts_with("<... clone")) {
            let thread = rest.rsplit("= ").next().filter(|tid| tid.parse::<u32>().is_ok());
            eyes.extend(thread.map(str::to_owned));
        }
        if rest.starts_with("seccomp(SECCOMP_SET_MODE_FILTER") {
            *filters.entry(pid.to_owned()).or_default() += 1;
            continue;
        }
        let Some((call, arguments)) = rest.split_once('(') else { continue };
        if !call.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_') {
            continue;
        }
        let role = match eyes.contains(pid) {
            true if filters.get(&eye) == Some(&2) => "eye",
            false if pid != warden && filters.contains_key(pid) => "gatekeeper",
            _ => continue,
        };
        seen.entry(format!("calls {role}")).or_default().insert(call.to_owned());
        if call == "ioctl" {
            let request = arguments.split([',', ')', ' ']).filter(|word| !word.is_empty()).nth(1).unwrap_or_default();
            seen.entry(format!("ioctls {role}")).or_default().insert(request.to_owned());
        }
    }
    for (what, names) in seen {
        record("-", "mark", &format!("{what} {}", names.into_iter().collect::<Vec<_>>().join(" ")))?;
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
        ["uvc", gadget, w, h, fps, jpeg] => uvc(gadget, [number(w), number(h), number(fps)], jpeg),
        ["calls", path] => calls(path),
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

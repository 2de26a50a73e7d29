//! `cameras [--json]`: the cameras of this machine, what they offer, and which mode `run` would choose.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use super::{Failure, Printer};
use crate::cli::one_line;
use crate::decode::Limits;
use crate::exit::Exit;
use crate::source::SourceError;
use crate::source::camera::{self, Found, Mode, Offer, Rates, Wish};

pub(super) fn run(as_json: bool) -> Result<Exit, Failure> {
    let wish = Wish::default();
    let found = camera::list(wish.size);
    if found.iter().all(|camera| camera.offer.is_err()) {
        let tried = found.into_iter().map(|camera| {
            let why = match camera.offer {
                Err(SourceError::Camera { problem, .. }) => problem,
                Err(other) => other.to_string(),
                Ok(_) => String::new(),
            };
            (camera.path.to_string_lossy().into_owned(), why)
        });
        return Err(SourceError::NoCamera { tried: tried.collect() }.into());
    }
    let text = if as_json {
        let mut text = serde_json::to_string(&found.iter().map(as_value).collect::<Vec<_>>()).unwrap_or_default();
        text.push('\n');
        text
    } else {
        let mut text = String::new();
        for camera in &found {
            // Writing to a String cannot fail.
            let _ = describe(&mut text, camera, &wish);
        }
        text
    };
    Printer::new().print(&text).map(|()| Exit::Done)
}

/// The mode that `run` would take, and why, in the limits that it decodes in.
fn choice<'a>(offer: &'a Offer, wish: &Wish) -> Option<(&'a Mode, String)> {
    let limits = Limits::default();
    let (mode, why) = camera::choose(&offer.modes, wish)?;
    limits.check(mode.size).is_ok().then_some((mode, why))
}

fn rates(rates: &Rates) -> String {
    match rates {
        Rates::Unsaid => "its own rate".to_owned(),
        Rates::List(list) => list.iter().map(|fps| trimmed(*fps)).collect::<Vec<_>>().join(", "),
        Rates::Range(slowest, fastest) => format!("{} to {}", trimmed(*slowest), trimmed(*fastest)),
    }
}

/// `30`, `29.97`, `7.5`.
fn trimmed(fps: f64) -> String {
    let text = format!("{fps:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn describe(out: &mut String, camera: &Found, wish: &Wish) -> std::fmt::Result {
    let safe = |text: &str| one_line(text.as_ref());
    let path = one_line(camera.path.as_os_str());
    let offer = match &camera.offer {
        Ok(offer) => offer,
        Err(SourceError::Camera { doing, problem, .. }) => {
            return writeln!(out, "{path}\n  cannot {doing}: {}", safe(problem));
        }
        Err(other) => return writeln!(out, "{path}\n  {other}"),
    };
    writeln!(out, "{path}  {} ({}, {})", safe(&offer.card), safe(&offer.driver), safe(&offer.bus))?;
    for link in &camera.links {
        writeln!(out, "  {}", one_line(link.as_os_str()))?;
    }
    let mut formats: BTreeMap<usize, (&str, Vec<String>)> = BTreeMap::new();
    for mode in &offer.modes {
        let place = offer.modes.iter().position(|other| other.format == mode.format).unwrap_or_default();
        let (_, sizes) = formats.entry(place).or_insert((mode.format.name(), Vec::new()));
        sizes.push(format!("{} at {}", mode.size, rates(&mode.rates)));
    }
    for (name, sizes) in formats.values() {
        writeln!(out, "  {name:<5} {}", sizes.join("; "))?;
    }
    if !offer.others.is_empty() {
        writeln!(out, "  not read here: {}", safe(&offer.others.join(", ")))?;
    }
    match choice(offer, wish) {
        Some((mode, why)) => {
            let fps = trimmed(mode.rate_for(wish.fps));
            writeln!(out, "  run takes {} {} at {fps}: {why}", mode.format.name(), mode.size)
        }
        None => writeln!(out, "  run cannot use it: it offers nothing that is read here"),
    }
}

fn as_value(camera: &Found) -> Value {
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let links: Vec<_> = camera.links.iter().map(|link| text(link)).collect();
    let offer = match &camera.offer {
        Ok(offer) => offer,
        Err(error) => return json!({ "path": text(&camera.path), "links": links, "error": error.to_string() }),
    };
    let as_mode = |mode: &Mode| {
        let rates = match &mode.rates {
            Rates::Unsaid => Value::Null,
            Rates::List(list) => json!(list),
            Rates::Range(slowest, fastest) => json!({ "from": slowest, "to": fastest }),
        };
        json!({ "format": mode.format.name(), "width": mode.size.width, "height": mode.size.height, "fps": rates })
    };
    let wish = Wish::default();
    let chosen = choice(offer, &wish).map(|(mode, why)| {
        json!({
            "format": mode.format.name(), "width": mode.size.width, "height": mode.size.height,
            "fps": mode.rate_for(wish.fps), "why": why,
        })
    });
    json!({
        "path": text(&camera.path),
        "links": links,
        "card": offer.card,
        "driver": offer.driver,
        "bus": offer.bus,
        "modes": offer.modes.iter().map(as_mode).collect::<Vec<_>>(),
        "others": offer.others,
        "chosen": chosen,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::PixelFormat;
    use crate::geom::Size;
    use crate::source::camera::FourCc;

    fn found() -> Found {
        let mode = |width, height, rates| Mode {
            format: PixelFormat::Yuyv,
            code: FourCc(*b"YUYV"),
            size: Size::new(width, height),
            rates,
        };
        let modes = vec![mode(640, 480, Rates::List(vec![30.0, 7.5])), mode(1280, 720, Rates::Range(1.0, 10.0))];
        let offer = Offer {
            card: "A\ncard".into(),
            driver: "uvcvideo".into(),
            bus: "usb-1".into(),
            modes,
            others: vec!["H264".into()],
        };
        Found { path: "/dev/video0".into(), links: vec!["/dev/v4l/by-id/a".into()], offer: Ok(offer) }
    }

    #[test]
    fn a_camera_is_described_with_the_choice_and_why() {
        let mut text = String::new();
        describe(&mut text, &found(), &Wish::default()).unwrap();
        assert_eq!(
            text,
            "/dev/video0  A\\ncard (uvcvideo, usb-1)\n  /dev/v4l/by-id/a\n  yuyv  640x480 at 30, 7.5; 1280x720 at 1 to 10\n  \
             not read here: H264\n  run takes yuyv 1280x720 at 10: the wanted size, comes closest to the rate, cheapest to \
             decode of those\n"
        );
        let value = as_value(&found());
        assert_eq!(value["chosen"]["fps"], 10.0);
        assert_eq!(value["modes"][1]["fps"]["to"], 10.0);
        assert_eq!(value["links"][0], "/dev/v4l/by-id/a");
    }

    #[test]
    fn rates_are_short() {
        assert_eq!([30.0, 29.97, 7.5, 100.0].map(trimmed), ["30", "29.97", "7.5", "100"]);
    }
}

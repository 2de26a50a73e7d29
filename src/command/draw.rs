//! `detect --draw`: pictures with what was found, for the eye of whoever compares models.
//!
//! The one place that writes pixels. It is reachable from `detect` alone, which reads files and never a camera: what a camera
//! sees leaves porchlight as events or not at all.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::Failure;
use crate::detection::Detection;
use crate::exit::Exit;
use crate::frame::Frame;
use crate::labels::Labels;

/// Pixels of a letter's dot.
const DOT: i32 = 2;

/// Capital letters, digits and a few signs: five rows of three dots, an octal digit each.
const FONT: [(char, u16); 41] = [
    ('A', 0o25755),
    ('B', 0o65656),
    ('C', 0o34443),
    ('D', 0o65556),
    ('E', 0o74647),
    ('F', 0o74644),
    ('G', 0o34553),
    ('H', 0o55755),
    ('I', 0o72227),
    ('J', 0o11152),
    ('K', 0o55655),
    ('L', 0o44447),
    ('M', 0o57755),
    ('N', 0o65555),
    ('O', 0o25552),
    ('P', 0o65644),
    ('Q', 0o25573),
    ('R', 0o65655),
    ('S', 0o34216),
    ('T', 0o72222),
    ('U', 0o55557),
    ('V', 0o55552),
    ('W', 0o55775),
    ('X', 0o55255),
    ('Y', 0o55222),
    ('Z', 0o71247),
    ('0', 0o75557),
    ('1', 0o26227),
    ('2', 0o61247),
    ('3', 0o61216),
    ('4', 0o55711),
    ('5', 0o74616),
    ('6', 0o34757),
    ('7', 0o71222),
    ('8', 0o75757),
    ('9', 0o75716),
    ('.', 0o00002),
    ('-', 0o00700),
    (' ', 0),
    ('_', 0o00007),
    ('%', 0o51245),
];

/// Refuses what is no picture file and what a camera gives.
pub(super) fn refuse_cameras(paths: &[PathBuf]) -> Result<(), Failure> {
    for path in paths {
        let device = std::fs::metadata(path).is_ok_and(|m| m.file_type().is_char_device() || m.file_type().is_fifo());
        if device || path.starts_with("/dev") {
            let line = format!(
                "detect: --draw: {}: wanted picture files, found a device: what a camera sees is never written, see SECURITY.md",
                path.display()
            );
            return Err(Failure::new(Exit::Usage, line));
        }
    }
    Ok(())
}

/// Writes `folder/NAME.png`; NAME is the picture's path with `-` for each `/`, so that two folders do not collide.
pub(super) fn draw(
    folder: &Path,
    path: &Path,
    frame: &Frame,
    found: &[Detection],
    labels: &Labels,
) -> Result<(), Failure> {
    let size = frame.size();
    let mut canvas = Canvas { rgb: frame.to_rgb(), width: size.width as i32, height: size.height as i32 };
    for d in found.iter().rev() {
        let colour = colour(d.class.0);
        let b = d.bbox;
        // Boxes may reach far over the edge: cut, so that no loop runs long.
        let cut = |v: f32, most: i32| v.clamp(-8.0, most as f32 + 8.0) as i32;
        let (x0, x1) = (cut(b.x0, canvas.width), cut(b.x1, canvas.width));
        let (y0, y1) = (cut(b.y0, canvas.height), cut(b.y1, canvas.height));
        for (x, y, w, h) in
            [(x0, y0, x1 - x0, 2), (x0, y1 - 2, x1 - x0, 2), (x0, y0, 2, y1 - y0), (x1 - 2, y0, 2, y1 - y0)]
        {
            canvas.fill(x, y, w, h, colour);
        }
        for p in d.landmarks.iter().flatten() {
            canvas.fill(cut(p.x, canvas.width) - 1, cut(p.y, canvas.height) - 1, 3, 3, colour);
        }
        canvas.write(
            x0.max(0),
            (y0 - 7 * DOT).max(0),
            &format!("{} {:.2}", labels.name(d.class), d.score.get()),
            colour,
        );
    }
    let name: String = path.to_string_lossy().trim_start_matches(['.', '/']).replace('/', "-");
    let target = folder.join(format!("{name}.png"));
    let image = image::RgbImage::from_raw(size.width, size.height, canvas.rgb);
    let saved =
        image.ok_or_else(|| "an empty picture".to_owned()).and_then(|i| i.save(&target).map_err(|e| e.to_string()));
    saved
        .map_err(|e| Failure::new(Exit::Usage, format!("detect: --draw: {}: cannot be written: {e}", target.display())))
}

/// Told apart by hue; the same for a class in every picture.
fn colour(class: u16) -> [u8; 3] {
    const COLOURS: [[u8; 3]; 8] = [
        [230, 60, 60],
        [60, 180, 75],
        [60, 110, 255],
        [255, 150, 30],
        [200, 60, 220],
        [30, 200, 220],
        [240, 220, 40],
        [255, 130, 180],
    ];
    COLOURS[usize::from(class) % COLOURS.len()]
}

struct Canvas {
    rgb: Vec<u8>,
    width: i32,
    height: i32,
}

impl Canvas {
    fn fill(&mut self, x: i32, y: i32, w: i32, h: i32, colour: [u8; 3]) {
        for y in y.max(0)..(y + h).min(self.height) {
            for x in x.max(0)..(x + w).min(self.width) {
                let at = (y as usize * self.width as usize + x as usize) * 3;
                self.rgb[at..at + 3].copy_from_slice(&colour);
            }
        }
    }

    fn write(&mut self, x: i32, y: i32, text: &str, colour: [u8; 3]) {
        let letters: Vec<char> = text.chars().take(40).map(|c| c.to_ascii_uppercase()).collect();
        self.fill(x, y, (4 * letters.len() as i32 + 1) * DOT, 7 * DOT, colour);
        for (i, letter) in letters.iter().enumerate() {
            // What the font lacks is a filled block.
            let rows = FONT.iter().find(|(c, _)| c == letter).map_or(0o77777, |(_, rows)| *rows);
            for row in 0..5 {
                for column in 0..3 {
                    if rows >> (3 * (4 - row) + 2 - column) & 1 == 1 {
                        let (x, y) = (x + (4 * i as i32 + 1 + column) * DOT, y + (1 + row) * DOT);
                        self.fill(x, y, DOT, DOT, [0, 0, 0]);
                    }
                }
            }
        }
    }
}

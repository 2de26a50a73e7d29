//! The door is too narrow for a picture.
//!
//! An [`Event`] is `Copy + 'static` and small: it owns no heap and borrows no frame, so nothing in it can hold pixels, text or
//! an embedding. Labels and names are ids, resolved against tables when a line is written ([`mod@line`]); what can be written is
//! closed by the sealed trait [`line::Field`]. [`schema`] declares the same shapes for consumers. This module may not import
//! frames, faces or models.

pub mod format;
pub mod line;
pub mod schema;

use crate::detection::{ClassId, Score};
use crate::frame::{CameraId, MonoNs};
use crate::geom::{Box2, Unit};

/// Version of the event format: the `v` of every line. It changes when a consumer could break.
pub const VERSION: u64 = 1;

/// Longest line with its newline, in bytes; only `hello` may be longer.
pub const MAX_LINE: usize = 1024;

/// Most cameras of a run.
pub const MAX_CAMERAS: usize = 16;

/// The `track` of events: counted from 1 over the whole run, unique in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackNo(pub u32);

/// A person of the gallery, by their place in the table of names of this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersonNo(pub u32);

/// A zone of the event's camera, in the order of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZoneNo(pub u8);

/// A line of the event's camera, in the order of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineNo(pub u8);

/// A closed set of words; the only text besides labels and names that an event can carry.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vmeta])* $variant),+ }
        impl $name {
            /// Every word, for the schema.
            pub const WORDS: &'static [&'static str] = &[$($word),+];
            /// As printed.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    };
}

words! {
    /// Why a camera changed its state.
    CameraReason {
        /// It delivers for the first time.
        Started = "started",
        /// It delivers again.
        Recovered = "recovered",
        /// The file or stream has ended.
        EndOfStream = "end_of_stream",
        /// The run is being stopped.
        Shutdown = "shutdown",
        /// The device is gone.
        Unplugged = "unplugged",
        /// The device or file cannot be opened.
        OpenFailed = "open_failed",
        /// It was never there so far.
        Absent = "absent",
        /// Another program uses the device.
        Busy = "busy",
        /// The USB bus has no room for its stream.
        NoBandwidth = "no_bandwidth",
        /// The driver changed size or format of a running stream.
        FormatChanged = "format_changed",
        /// The device answers with errors.
        DeviceError = "device_error",
        /// No frame for longer than allowed.
        Stalled = "stalled",
        /// Frames arrive that cannot be decoded.
        Undecodable = "undecodable",
        /// The stream breaks its own format; what was read counts.
        StreamBroken = "stream_broken",
        /// The board is hot: fewer frames are looked at, so that it need not slow itself down.
        Hot = "hot",
    }
}

words! {
    /// Why a track left.
    LeftReason {
        /// Looked for and not found.
        Lost = "lost",
        /// Its camera stopped delivering.
        CameraOffline = "camera_offline",
        /// The run ended.
        Shutdown = "shutdown",
    }
}

words! {
    /// Why a name was withdrawn.
    RevokedReason {
        /// Later faces of the track are not like the person.
        Contradicted = "contradicted",
        /// Later faces are more like somebody else.
        Overtaken = "overtaken",
        /// The person's consent has lapsed.
        Expired = "expired",
        /// The person was taken out of the gallery.
        Removed = "removed",
    }
}

words! {
    /// Which way a line was crossed.
    Direction {
        /// From the left hand to the right of who stands at `from` and looks to `to`.
        Forward = "forward",
        /// The other way.
        Backward = "backward",
    }
}

words! {
    /// Why lines gave way.
    DropCause {
        /// The cap on output bytes per second.
        OutputCap = "output_cap",
    }
}

words! {
    /// A part of the program that can fail.
    Part {
        /// The detector of objects.
        Objects = "objects",
        /// The detector of faces.
        Faces = "faces",
        /// What tells faces apart.
        Identity = "identity",
        /// The process that sees pixels.
        Eye = "eye",
    }
}

words! {
    /// How a part failed.
    FaultReason {
        /// Inference returned an error.
        InferenceFailed = "inference_failed",
        /// It ended without being asked to.
        Died = "died",
        /// It did not answer in time.
        Hung = "hung",
    }
}

words! {
    /// How much of the seal the kernel enforces.
    SealState {
        /// All of it.
        Full = "full",
        /// The allow-list of system calls, and not all of Landlock.
        Partial = "partial",
        /// Nothing, as was asked for.
        Off = "off",
    }
}

words! {
    /// What is wanted of Landlock.
    SealRule {
        /// No file is opened, made or removed.
        Files = "files",
        /// No file is cut.
        Truncate = "truncate",
        /// No TCP.
        Tcp = "tcp",
        /// No ioctl on devices opened later.
        DeviceIoctl = "device_ioctl",
        /// No abstract socket of others.
        AbstractSockets = "abstract_sockets",
        /// No signal to others.
        Signals = "signals",
    }
}

words! {
    /// Whether a filter of system calls stands.
    Seccomp {
        /// On every thread; what it does not allow kills.
        Enforced = "enforced",
        /// It does not.
        Off = "off",
    }
}

words! {
    /// What is left of a way out.
    Way {
        /// Nothing.
        Denied = "denied",
        /// All.
        Allowed = "allowed",
    }
}

words! {
    /// Why the run ended.
    ByeReason {
        /// Every source has ended.
        EndOfStream = "end_of_stream",
        /// SIGINT or SIGTERM.
        Signal = "signal",
        /// A part failed that the run cannot do without.
        Fault = "fault",
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Body {
    /// A camera delivers.
    CameraOnline {
        /// Why.
        reason: CameraReason,
        /// Which attempt to open it succeeded, from 1.
        attempt: u32,
    },
    /// A camera does not deliver.
    CameraOffline {
        /// Why.
        reason: CameraReason,
        /// Attempts to open it so far.
        attempt: u32,
        /// When the next attempt will be made; 0 for none.
        retry_ms: u32,
    },
    /// A camera delivers worse than it should.
    CameraDegraded {
        /// Why.
        reason: CameraReason,
        /// Attempts to open it so far.
        attempt: u32,
        /// When the next attempt will be made; 0 for none.
        retry_ms: u32,
    },
    /// A track is confirmed; once for each.
    TrackAppeared {
        /// Which.
        track: TrackNo,
        /// What it is.
        label: ClassId,
        /// How sure.
        score: Score,
        /// Where.
        bbox: Box2<Unit>,
    },
    /// It changed in a way that matters.
    TrackUpdated {
        /// Which.
        track: TrackNo,
        /// What it is.
        label: ClassId,
        /// How sure.
        score: Score,
        /// Where.
        bbox: Box2<Unit>,
        /// Whether it moves.
        moving: bool,
    },
    /// It is gone; exactly once for each that appeared.
    TrackLeft {
        /// Which.
        track: TrackNo,
        /// What it was.
        label: ClassId,
        /// Where it was last seen.
        bbox: Box2<Unit>,
        /// From the first to the last frame it was seen in.
        dwell_ms: u64,
        /// Why.
        reason: LeftReason,
    },
    /// A known person; once for each track unless it changes.
    IdentityRecognized {
        /// Which track.
        track: TrackNo,
        /// Who.
        person: PersonNo,
        /// Of the likest face.
        similarity: Score,
        /// What it lies above the next person's.
        margin: Score,
        /// Faces that spoke for them.
        faces: u32,
    },
    /// Good faces, and nobody of the gallery is like them.
    IdentityUnknown {
        /// Which track.
        track: TrackNo,
        /// How many.
        faces: u32,
    },
    /// The name is withdrawn.
    IdentityRevoked {
        /// Which track.
        track: TrackNo,
        /// Who it is not.
        person: PersonNo,
        /// Why.
        reason: RevokedReason,
    },
    /// It came into a zone, or appeared in it.
    ZoneEnter {
        /// Which.
        track: TrackNo,
        /// What it is.
        label: ClassId,
        /// Of its camera.
        zone: ZoneNo,
    },
    /// It went out of the zone, or left; exactly once for each enter.
    ZoneExit {
        /// Which.
        track: TrackNo,
        /// What it is.
        label: ClassId,
        /// Of its camera.
        zone: ZoneNo,
        /// From the first to the last time it was in there.
        dwell_ms: u64,
    },
    /// It has stayed as long as was asked for; at most once for each enter.
    ZoneDwell {
        /// Which.
        track: TrackNo,
        /// What it is.
        label: ClassId,
        /// Of its camera.
        zone: ZoneNo,
        /// So far.
        dwell_ms: u64,
    },
    /// It went across a line.
    LineCrossed {
        /// Which.
        track: TrackNo,
        /// What it is.
        label: ClassId,
        /// Of its camera.
        line: LineNo,
        /// Which way.
        direction: Direction,
    },
    /// Lines gave way to the output cap.
    Dropped {
        /// How many.
        count: u64,
        /// Why.
        cause: DropCause,
    },
    /// A part failed.
    Fault {
        /// Which.
        part: Part,
        /// How.
        reason: FaultReason,
        /// Whether it was replaced.
        restarted: bool,
    },
}

impl Body {
    /// The `type` of the line.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::CameraOnline { .. } => "camera.online",
            Self::CameraOffline { .. } => "camera.offline",
            Self::CameraDegraded { .. } => "camera.degraded",
            Self::TrackAppeared { .. } => "track.appeared",
            Self::TrackUpdated { .. } => "track.updated",
            Self::TrackLeft { .. } => "track.left",
            Self::IdentityRecognized { .. } => "identity.recognized",
            Self::IdentityUnknown { .. } => "identity.unknown",
            Self::IdentityRevoked { .. } => "identity.revoked",
            Self::ZoneEnter { .. } => "zone.enter",
            Self::ZoneExit { .. } => "zone.exit",
            Self::ZoneDwell { .. } => "zone.dwell",
            Self::LineCrossed { .. } => "line.crossed",
            Self::Dropped { .. } => "dropped",
            Self::Fault { .. } => "fault",
        }
    }

    /// The track it is about.
    pub const fn track(&self) -> Option<TrackNo> {
        match *self {
            Self::TrackAppeared { track, .. }
            | Self::TrackUpdated { track, .. }
            | Self::TrackLeft { track, .. }
            | Self::ZoneEnter { track, .. }
            | Self::ZoneExit { track, .. }
            | Self::ZoneDwell { track, .. }
            | Self::LineCrossed { track, .. }
            | Self::IdentityRecognized { track, .. }
            | Self::IdentityUnknown { track, .. }
            | Self::IdentityRevoked { track, .. } => Some(track),
            Self::CameraOnline { .. }
            | Self::CameraOffline { .. }
            | Self::CameraDegraded { .. }
            | Self::Dropped { .. }
            | Self::Fault { .. } => None,
        }
    }
}

/// One line to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event {
    /// Whose; `None` for the run as a whole.
    pub camera: Option<CameraId>,
    /// Capture time of the frame it is about, on the stream's clock.
    pub at: MonoNs,
    /// When that frame reached us, on this machine's monotonic clock: `age_ms` is measured from here.
    pub received: MonoNs,
    /// What happened.
    pub body: Body,
}

/// Nothing with a lifetime or a destructor gets in, and nothing large.
const fn assert_narrow<T: Copy + 'static>() {}
const _: () = assert_narrow::<Event>();
const _: () = assert!(size_of::<Event>() <= 80, "an event must stay small");

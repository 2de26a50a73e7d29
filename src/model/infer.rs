//! Running a model: the only user of ONNX Runtime.
//!
//! The library is loaded at run time, so that building needs no C++ and the same binary runs with the library a
//! distribution ships. Thread counts are explicit and spinning is off: a waiting pool thread that spins costs a core
//! between frames and fights with the next session. Telemetry is off. The runtime's own log goes nowhere; what matters of
//! it comes back as an error.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{TensorElementType, ValueType};

use super::{ModelError, sys};
use crate::seal::NO_TELEMETRY;

/// File name of the library.
const LIBRARY: &str = "libonnxruntime.so";

/// A loaded ONNX Runtime; sessions are made from it.
#[derive(Clone)]
pub struct Runtime {
    environment: Environment,
    path: PathBuf,
}

/// Where the library is looked for: `ORT_DYLIB_PATH`, the executable's folder, `../lib/porchlight` beside that, which is where
/// packages put it, and where `cargo xtask setup` does.
fn candidates() -> Vec<PathBuf> {
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH").filter(|p| !p.is_empty()) {
        return vec![path.into()];
    }
    let mut paths = Vec::new();
    if let Some(dir) = std::env::current_exe().ok().as_deref().and_then(Path::parent) {
        paths.push(dir.join(LIBRARY));
        paths.push(dir.join("../lib/porchlight").join(LIBRARY));
    }
    // Empty in packages: they know of no checkout.
    if let Some(tools) = option_env!("PORCHLIGHT_TOOLS").filter(|t| !t.is_empty()) {
        paths.push(Path::new(tools).join(format!("onnxruntime-{}", std::env::consts::ARCH)).join(LIBRARY));
    }
    paths
}

impl Runtime {
    /// Finds and loads the library.
    ///
    /// # Errors
    /// [`ModelError::Runtime`] with the places that were looked at and the command that fetches it.
    pub fn load() -> Result<Self, ModelError> {
        if std::env::var_os(NO_TELEMETRY).is_none_or(|v| v != "1") {
            // The program sets it first thing; this is for whoever embeds the library.
            return Err(ModelError::Runtime {
                what: format!(
                    "ONNX Runtime: its official builds send telemetry before they can be told not to: set {NO_TELEMETRY}=1 before the program starts"
                ),
            });
        }
        let places = candidates();
        let Some(path) = places.iter().find(|p| p.is_file()) else {
            let looked = places.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ");
            return Err(ModelError::Runtime {
                what: format!(
                    "ONNX Runtime: no library at {looked}: run `cargo xtask setup` in the checkout, or set ORT_DYLIB_PATH to a {LIBRARY} of version 1.24 or later"
                ),
            });
        };
        let broken = |e: &dyn std::fmt::Display| ModelError::Runtime {
            what: format!(
                "ONNX Runtime: {}: {}: run `cargo xtask setup`, or set ORT_DYLIB_PATH to a {LIBRARY} of version 1.24 or later",
                path.display(),
                one_line(&e.to_string())
            ),
        };
        let environment = ort::init_from(path)
            .map_err(|e| broken(&e))?
            .with_name("porchlight")
            .with_telemetry(false)
            .with_logger(Arc::new(|_, _, _, _, _| {}))
            .build()
            .map_err(|e| broken(&e))?;
        Ok(Self { environment, path: path.clone() })
    }

    /// Lays out [`Arena::Common`] for so many inferences at a time; to be called once, before the first session that shares it. It takes
    /// no memory until one asks it.
    ///
    /// # Errors
    /// [`ModelError::Runtime`] with what ONNX Runtime says against it.
    pub fn lay_out_arena(&self, inferences: usize) -> Result<(), ModelError> {
        sys::one_arena(&self.environment, inferences).map_err(|e| ModelError::Runtime {
            what: format!("ONNX Runtime: {}: no common arena: {}", self.path.display(), one_line(&e)),
        })
    }

    /// The file that was loaded.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the library says of its build: branch, commit, flags; one line.
    pub fn build(&self) -> String {
        one_line(ort::info())
    }

    /// What a model file tells of itself; it is loaded, not run.
    ///
    /// # Errors
    /// [`ModelError::Session`] when the runtime refuses the model.
    pub fn inspect(&self, model: &str, weights: &[u8]) -> Result<Graph, ModelError> {
        let session = self.assemble(model, weights, 1, Arena::Own)?;
        let inputs = session.inputs().iter().map(TensorInfo::of).collect();
        let outputs = session.outputs().iter().map(TensorInfo::of).collect();
        let Ok(told) = session.metadata() else { return Ok(Graph { inputs, outputs, ..Graph::default() }) };
        let mut metadata: Vec<(String, String)> = told
            .custom_keys()
            .unwrap_or_default()
            .into_iter()
            .filter_map(|key| told.custom(&key).map(|value| (key, value)))
            .collect();
        metadata.sort();
        let producer = told.producer();
        Ok(Graph { inputs, outputs, producer, metadata })
    }

    /// A session for `weights` (an ONNX file's bytes) that computes with `threads` threads, the caller's among them.
    ///
    /// `outputs` names the tensors [`Infer::run`] hands out, in that order; names the model lacks are an error.
    ///
    /// # Errors
    /// [`ModelError::Session`] when the runtime refuses the model, [`ModelError::Tensor`] for a missing tensor or one
    /// that does not hold `f32`.
    pub fn session(
        &self,
        model: &str,
        weights: &[u8],
        threads: usize,
        outputs: &[String],
    ) -> Result<OrtSession, ModelError> {
        self.session_in(Arena::Own, model, weights, threads, outputs)
    }

    fn assemble(&self, model: &str, weights: &[u8], threads: usize, arena: Arena) -> Result<Session, ModelError> {
        let refused =
            |e: &dyn std::fmt::Display| ModelError::Session { model: model.to_owned(), what: one_line(&e.to_string()) };
        let builder = Session::builder(&self.environment)
            .map_err(|e| refused(&e))?
            .with_optimization_level(GraphOptimizationLevel::All)
            .map_err(|e| refused(&e))?
            .with_intra_threads(threads.max(1))
            .map_err(|e| refused(&e))?
            .with_inter_threads(1)
            .map_err(|e| refused(&e))?
            .with_intra_op_spinning(false)
            .map_err(|e| refused(&e))?
            .with_inter_op_spinning(false)
            .map_err(|e| refused(&e))?
            // A plan of all tensors at once costs memory (20 MB for the three default models) and gains no time.
            .with_memory_pattern(false)
            .map_err(|e| refused(&e))?;
        let mut builder = match arena {
            Arena::Own => builder,
            Arena::Common => builder.with_env_allocators().map_err(|e| refused(&e))?,
        };
        builder.commit_from_memory(weights).map_err(|e| refused(&e))
    }

    /// The same, with a say in where its activations lie.
    ///
    /// # Errors
    /// As [`Runtime::session`].
    pub fn session_in(
        &self,
        arena: Arena,
        model: &str,
        weights: &[u8],
        threads: usize,
        outputs: &[String],
    ) -> Result<OrtSession, ModelError> {
        let session = self.assemble(model, weights, threads, arena)?;
        let describe = |list: &[ort::value::Outlet]| list.iter().map(TensorInfo::of).collect::<Vec<_>>();
        let (inputs, all) = (describe(session.inputs()), describe(session.outputs()));
        let mut infos = Vec::with_capacity(outputs.len());
        for name in outputs {
            let Some(info) = all.iter().find(|t| t.name == *name) else {
                return Err(ModelError::Tensor {
                    model: model.to_owned(),
                    tensor: name.clone(),
                    wanted: "an output of that name (card, [output] tensors)".into(),
                    found: all.iter().map(|t| t.name.as_str()).collect::<Vec<_>>().join(", "),
                });
            };
            if !info.is_f32 {
                return Err(ModelError::Tensor {
                    model: model.to_owned(),
                    tensor: name.clone(),
                    wanted: "f32".into(),
                    found: info.kind.clone(),
                });
            }
            infos.push(info.clone());
        }
        let session = sys::Shared::new(session, infos.iter().map(|info| info.name.clone()))
            .map_err(|what| ModelError::Session { model: model.to_owned(), what: one_line(&what) })?;
        Ok(OrtSession { model: model.to_owned(), session, inputs, outputs: infos })
    }
}

/// Where the activations of a session lie between two runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arena {
    /// In an arena of its own: for measuring one model.
    Own,
    /// In one that all such sessions share: what one has done with another may have.
    Common,
}

/// What a model file tells of itself.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// What it takes.
    pub inputs: Vec<TensorInfo>,
    /// What it hands out.
    pub outputs: Vec<TensorInfo>,
    /// The program that made it.
    pub producer: Option<String>,
    /// Its own remarks, sorted by key.
    pub metadata: Vec<(String, String)>,
}

/// Name, element type and dimensions of a tensor, as the session tells them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// -1 where any size will do.
    pub dims: Vec<i64>,
    /// Whether it holds `f32`.
    pub is_f32: bool,
    /// Element type and dimensions, for people.
    pub kind: String,
}

impl TensorInfo {
    /// How many elements it holds; `None` where a dimension is open.
    pub fn elements(&self) -> Option<usize> {
        let sides = self.dims.iter().map(|d| usize::try_from(*d).ok().filter(|d| *d > 0));
        let all = sides.collect::<Option<Vec<_>>>()?;
        all.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).filter(|_| !all.is_empty())
    }

    fn of(outlet: &ort::value::Outlet) -> Self {
        let name = outlet.name().to_owned();
        match outlet.dtype() {
            ValueType::Tensor { ty, shape, .. } => {
                let dims: Vec<i64> = shape.iter().copied().collect();
                let kind = format!("{ty:?} {dims:?}");
                Self { name, is_f32: *ty == TensorElementType::Float32, kind, dims }
            }
            other => Self { name, dims: Vec::new(), is_f32: false, kind: format!("{other:?}") },
        }
    }
}

/// One output tensor, borrowed from the runtime for the length of a callback.
#[derive(Clone, Copy, Debug)]
pub struct OutputView<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its dimensions in this answer.
    pub dims: &'a [i64],
    /// The elements, row-major.
    pub data: &'a [f32],
}

impl<'a> OutputView<'a> {
    /// What this tensor says of picture `index` of a batch of `batch`: a batch is the first dimension, so each picture's elements lie
    /// together, as those of a batch of one do. A tensor without that dimension (`[n, 6]`) cannot be told apart.
    ///
    /// # Errors
    /// [`ModelError::Tensor`] when the first dimension is another.
    pub fn of_picture(self, index: usize, batch: usize) -> Result<Self, ModelError> {
        let len = self.data.len() / batch.max(1);
        match self.data.get(index * len..(index + 1) * len) {
            Some(data) if self.dims.first().is_some_and(|d| usize::try_from(*d) == Ok(batch)) => {
                Ok(Self { data, ..self })
            }
            _ => Err(ModelError::Tensor {
                model: String::new(),
                tensor: self.name.to_owned(),
                wanted: format!("{batch} as the first dimension, for a batch of {batch} (run one picture at a time)"),
                found: format!("{:?}", self.dims),
            }),
        }
    }

    /// The elements of output `index`, which must be `wanted` in number.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn sized(all: &[Self], index: usize, wanted: usize) -> Result<&'a [f32], ModelError> {
        let wrong = |name: &str, found: usize| ModelError::Tensor {
            model: String::new(),
            tensor: name.to_owned(),
            wanted: format!("{wanted} elements"),
            found: format!("{found} elements"),
        };
        match all.get(index) {
            Some(view) if view.data.len() == wanted => Ok(view.data),
            Some(view) => Err(wrong(view.name, view.data.len())),
            None => Err(wrong("(missing)", 0)),
        }
    }

    /// The elements of output `index`, which must be whole rows (or columns) of `width`.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn whole(all: &[Self], index: usize, width: usize) -> Result<&'a [f32], ModelError> {
        let found = all.get(index).map_or(0, |view| view.data.len());
        if width == 0 || !found.is_multiple_of(width) {
            return Err(ModelError::Tensor {
                model: String::new(),
                tensor: all.get(index).map_or("(missing)", |v| v.name).to_owned(),
                wanted: format!("a multiple of {width} elements"),
                found: format!("{found} elements"),
            });
        }
        Self::sized(all, index, found)
    }

    /// Output `index` in rows of `width`.
    ///
    /// # Errors
    /// [`ModelError::Tensor`] when it does not hold whole rows.
    pub fn rows(all: &[Self], index: usize, width: usize) -> Result<std::slice::ChunksExact<'a, f32>, ModelError> {
        Ok(Self::whole(all, index, width)?.chunks_exact(width.max(1)))
    }
}

/// Something that answers tensors with tensors: ONNX Runtime, or canned tensors in tests.
pub trait Infer: Send {
    /// What it takes.
    fn inputs(&self) -> &[TensorInfo];

    /// What it hands out, in the order asked for.
    fn outputs(&self) -> &[TensorInfo];

    /// Runs once on the first input.
    ///
    /// The outputs are lent to `read` instead of being returned: they live in the runtime's arena, and a copy of two
    /// hundred thousand scores per frame is one too many. `&mut self` because buffers are reused; a second thread has a clone of an
    /// [`OrtSession`].
    ///
    /// # Errors
    /// [`ModelError::Session`], or what `read` returned.
    fn run(
        &mut self,
        shape: [usize; 4],
        data: &[f32],
        read: &mut dyn FnMut(&[OutputView<'_>]) -> Result<(), ModelError>,
    ) -> Result<(), ModelError>;
}

/// A session of ONNX Runtime. A clone is the same session, for another thread: weights are there once.
#[derive(Clone)]
pub struct OrtSession {
    model: String,
    session: sys::Shared,
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
}

impl Infer for OrtSession {
    fn inputs(&self) -> &[TensorInfo] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    fn run(
        &mut self,
        shape: [usize; 4],
        data: &[f32],
        read: &mut dyn FnMut(&[OutputView<'_>]) -> Result<(), ModelError>,
    ) -> Result<(), ModelError> {
        // The runtime reads our buffer in place.
        let mut outcome = Ok(());
        self.session
            .run(shape, data, &mut |views| outcome = read(views))
            .map_err(|e| ModelError::Session { model: self.model.clone(), what: one_line(&e) })?;
        outcome.map_err(|e| match e {
            ModelError::Tensor { tensor, wanted, found, .. } => {
                ModelError::Tensor { model: self.model.clone(), tensor, wanted, found }
            }
            other => other,
        })
    }
}

/// Error messages of the runtime may span lines; ours may not.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

//! The calls of ONNX Runtime that `ort` has no safe form of. The only unsafe code of the models.
//!
//! `ort` builds the sessions and tells what they take and give. Its `run` wants a session to itself, which would be a second copy of
//! the weights for a second thread (21 MB of the object model's, and an arena of 10), and allocates five times around each run; its
//! environment has no way to say how memory is had. Both are worth 33 MB of 232 (`docs/performance.md`).
#![allow(unsafe_code)]

use std::ffi::{CString, c_char, c_void};
use std::ptr;
use std::sync::Arc;

use ort::AsPointer;
use ort::environment::Environment;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;
use ort::sys::{ONNXTensorElementDataType as Element, OrtStatusPtr, OrtValue};

use super::infer::OutputView;

/// Most outputs a session may be asked for: their lists lie on the stack.
const MOST: usize = 32;

/// So much address space the arena takes at once for each inference that runs beside others, and for two more. Only what was touched takes
/// memory, and a list of all possible pieces, a thirty-second. Pieces of one region can be joined again when they are free, which those of
/// several cannot: where four inferences had 64 MB a second region was needed, 17 MB more.
const REGION: usize = 16 << 20;

/// So much of a free piece may be wasted on somebody who asked for less; what is more is cut off for the next. The runtime's own choice,
/// 128 MiB, is for machines with other worries: tensors of 4 MB would lie in pieces of 8.
const WASTE: usize = 64 << 10;

/// What a call said, as a result.
fn checked(status: OrtStatusPtr) -> Result<(), String> {
    // Needed: a status is a pointer that somebody must release.
    // SAFETY: callers pass what a call of the API has just returned, null or a status that is theirs; it is released here and nowhere else.
    unsafe { ort::Error::result_from_status(status) }.map_err(|e| e.to_string())
}

/// One arena for all sessions of `environment` that are built `with_env_allocators`, of which `inferences` run at a time; to be called
/// once, before the first of them.
///
/// # Errors
/// What ONNX Runtime says against it. (A second call is not refused; sessions made before it keep the first arena.)
pub(super) fn one_arena(environment: &Environment, inferences: usize) -> Result<(), String> {
    let cpu = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Arena, MemoryType::Default);
    let cpu = cpu.map_err(|e| e.to_string())?;
    let keys = [c"initial_chunk_size_bytes".as_ptr(), c"max_dead_bytes_per_chunk".as_ptr()];
    let values = [REGION.saturating_mul(inferences.saturating_add(2)), WASTE];
    let mut settings = ptr::null_mut();
    // Needed: `ort` has no wrapper for an environment's allocators.
    // SAFETY: both lists hold as many entries as is said, the keys are C texts that live for ever, and all are only read during the call;
    // `settings` is written when the call succeeds and is then ours to release.
    checked(unsafe { (ort::api().CreateArenaCfgV2)(keys.as_ptr(), values.as_ptr(), keys.len(), &raw mut settings) })?;
    // SAFETY: environment and description live across the call, which copies the description and the settings and takes the
    // environment's own lock; hence also `cast_mut`. The settings are released once and not used thereafter. The arena belongs to the
    // environment, which each session keeps alive.
    checked(unsafe {
        let status = (ort::api().CreateAndRegisterAllocator)(environment.ptr().cast_mut(), cpu.ptr(), settings);
        (ort::api().ReleaseArenaCfg)(settings);
        status
    })
}

/// A session that several threads run at the same time, each by a clone.
#[derive(Clone)]
pub(super) struct Shared(Arc<Inner>);

struct Inner {
    session: Session,
    cpu: MemoryInfo<'static>,
    input: CString,
    outputs: Vec<(String, CString)>,
}

/// Tensors of the runtime that are ours, released at the end; null where there is none.
struct Values([*mut OrtValue; MOST]);

impl Drop for Values {
    fn drop(&mut self) {
        for value in self.0.into_iter().filter(|v| !v.is_null()) {
            // Needed: nobody else releases them.
            // SAFETY: each was handed to us by the runtime, is in one list only, and nothing borrows from the list any more.
            unsafe { (ort::api().ReleaseValue)(value) }
        }
    }
}

impl Values {
    fn view<'a>(&'a self, index: usize, name: &'a str) -> Result<OutputView<'a>, String> {
        let value = self.0.get(index).copied().unwrap_or(ptr::null_mut());
        if value.is_null() {
            return Err(format!("no output '{name}' in the answer"));
        }
        let (mut element, mut count) = (Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED, 0);
        let (mut dims, mut data) = (ptr::null::<i64>(), ptr::null::<c_void>());
        // Needed: `ort` has no view of a tensor that it does not own, and makes a list of its dimensions for each.
        // SAFETY: `value` is a tensor or what else the model gives, which the calls find out, and lives while `self` does; they write the
        // four variables and nothing else.
        checked(unsafe {
            let of = ort::api().GetTensorElementTypeAndShapeDataReference;
            of(value, &raw mut element, &raw mut dims, &raw mut count)
        })?;
        if element != Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT {
            return Err(format!("output '{name}' holds {element:?}; wanted f32"));
        }
        // SAFETY: as above.
        checked(unsafe { (ort::api().GetTensorData)(value, &raw mut data) })?;
        // SAFETY: on success `dims` points to `count` dimensions inside the tensor, which nobody changes while `self` is borrowed.
        let dims = if count == 0 { &[] } else { unsafe { std::slice::from_raw_parts(dims, count) } };
        let side = |d: &i64| usize::try_from(*d).ok();
        let len = dims.iter().try_fold(1usize, |n, d| n.checked_mul(side(d)?)).ok_or("an output without a size")?;
        let data: &[f32] = match data.is_null() || len == 0 {
            true => &[],
            // SAFETY: a tensor of floats has so many elements as its dimensions say, row-major and aligned, in memory of this process (no
            // provider but that of the processor is ever asked for); it is initialised, for Run has succeeded, and lives while `self` does.
            false => unsafe { std::slice::from_raw_parts(data.cast(), len) },
        };
        if data.len() == len { Ok(OutputView { name, dims, data }) } else { Err(format!("output '{name}' is nowhere")) }
    }
}

impl Shared {
    /// `session` for all who want it; a run hands out `outputs`, in that order.
    ///
    /// # Errors
    /// A session without input, more than [`MOST`] outputs, a name with a 0 in it.
    pub(super) fn new(session: Session, outputs: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let text = |name: &str| CString::new(name).map_err(|e| e.to_string());
        let input = text(session.inputs().first().ok_or("no input")?.name())?;
        let outputs = outputs.into_iter().map(|n| text(&n).map(|c| (n, c))).collect::<Result<Vec<_>, _>>()?;
        if outputs.len() > MOST {
            return Err(format!("{} outputs; wanted {MOST} at most", outputs.len()));
        }
        let cpu = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::Default);
        Ok(Self(Arc::new(Inner { session, cpu: cpu.map_err(|e| e.to_string())?, input, outputs })))
    }

    /// Runs once on the first input and lends the outputs to `read`. Allocates nothing but what ONNX Runtime does by itself.
    ///
    /// # Errors
    /// What ONNX Runtime says, or a tensor that is not what it should be.
    pub(super) fn run(
        &self,
        shape: [usize; 4],
        data: &[f32],
        read: &mut dyn FnMut(&[OutputView<'_>]),
    ) -> Result<(), String> {
        let Inner { session, cpu, input, outputs } = &*self.0;
        if shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d)) != Some(data.len()) {
            return Err(format!("an input of {shape:?} with {} elements", data.len()));
        }
        let dims = shape.map(|d| d as i64);
        let (mut given, mut answer) = (Values([ptr::null_mut(); MOST]), Values([ptr::null_mut(); MOST]));
        // Needed: `ort` has this too, with three allocations.
        // SAFETY: the buffer is as long as is said and outlives the tensor, which is released when this function ends (after
        // `data`'s borrow began and before it ends); it is of floats, and the runtime never writes into an input, hence `cast_mut`.
        checked(unsafe {
            let float = Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
            let (from, bytes) = (data.as_ptr().cast_mut().cast(), size_of_val(data));
            let value = &raw mut given.0[0];
            (ort::api().CreateTensorWithDataAsOrtValue)(cpu.ptr(), from, bytes, dims.as_ptr(), dims.len(), float, value)
        })?;
        let input = input.as_ptr();
        let mut names = [ptr::null::<c_char>(); MOST];
        names.iter_mut().zip(outputs).for_each(|(name, (_, text))| *name = text.as_ptr());
        // Needed: `ort`'s run wants the session exclusively.
        // SAFETY: Run is the one call that the C API lets several threads make of one session at once: it changes none of the session's
        // state but its arena and caches, which have locks. `ort` forbids it because kernels of other providers (CUDA's) are not so; here
        // is only the processor's. Nobody has the session mutably: it is private, in an `Arc`, and was moved in. Names and tensors are
        // as many as is said and live across the call; places for outputs are null, so that the runtime makes them and they are ours.
        checked(unsafe {
            let (session, given, answer) = (session.ptr().cast_mut(), given.0.as_ptr().cast(), answer.0.as_mut_ptr());
            (ort::api().Run)(session, ptr::null(), &raw const input, given, 1, names.as_ptr(), outputs.len(), answer)
        })?;
        let mut views = [OutputView { name: "", dims: &[], data: &[] }; MOST];
        for (index, (view, (name, _))) in views.iter_mut().zip(outputs).enumerate() {
            *view = answer.view(index, name)?;
        }
        read(&views[..outputs.len()]);
        Ok(())
    }
}

#[cfg(test)]
mod tests;

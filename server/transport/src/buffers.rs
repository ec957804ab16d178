//! Python's buffers and bytes.

use std::ffi::c_int;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

use bytes::Bytes;
use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::framing::Body;

/// The memory of an object, in one piece, for as long as this is there and no Python runs.
pub(crate) struct Contiguous<'py> {
    view: Box<ffi::Py_buffer>,
    /// Released with the GIL held.
    _held: PhantomData<Python<'py>>,
}

impl<'py> Contiguous<'py> {
    /// To read from.
    pub(crate) fn readable(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        Self::get(object, ffi::PyBUF_SIMPLE)
    }

    /// To write to.
    pub(crate) fn writable(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        Self::get(object, ffi::PyBUF_WRITABLE)
    }

    // Asks for plain bytes: numpy refuses to name the element types that others have given it.
    fn get(object: &Bound<'py, PyAny>, flags: c_int) -> PyResult<Self> {
        let mut view = Box::new(MaybeUninit::<ffi::Py_buffer>::zeroed());
        // SAFETY: the object is alive, the GIL is held, and `view` is room for a Py_buffer.
        let failed = unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), view.as_mut_ptr(), flags) };
        if failed != 0 {
            let error = PyErr::fetch(object.py());
            return Err(not_contiguous(object.py(), &error));
        }
        // SAFETY: PyObject_GetBuffer has filled it.
        let view = unsafe { view.assume_init() };
        Ok(Contiguous {
            view,
            _held: PhantomData,
        })
    }

    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.view.len).unwrap_or(0)
    }

    /// The bytes. The caller holds the GIL and runs no Python while it reads them.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self.len() {
            0 => &[],
            // SAFETY: the exporter keeps `len` contiguous bytes at `buf` until the view is released.
            length => unsafe { std::slice::from_raw_parts(self.view.buf.cast(), length) },
        }
    }

    /// The same, to write to. For what `writable` gave.
    fn bytes_mut(&mut self) -> &mut [u8] {
        match self.len() {
            0 => &mut [],
            // SAFETY: as in `bytes`; the exporter has agreed to writes, and the GIL keeps others out.
            length => unsafe { std::slice::from_raw_parts_mut(self.view.buf.cast(), length) },
        }
    }
}

impl Drop for Contiguous<'_> {
    fn drop(&mut self) {
        // SAFETY: `view` was filled by PyObject_GetBuffer and the GIL is held.
        unsafe { ffi::PyBuffer_Release(&mut *self.view) };
    }
}

fn not_contiguous(py: Python<'_>, error: &PyErr) -> PyErr {
    if error.is_instance_of::<pyo3::exceptions::PyTypeError>(py) {
        return error.clone_ref(py);
    }
    PyValueError::new_err(format!(
        "not usable as a C-contiguous buffer: {}",
        error.value(py)
    ))
}

/// `gather` of the stub.
pub(crate) fn gather(
    out: &Bound<'_, PyAny>,
    bodies: &Bound<'_, PyAny>,
    offset: usize,
    length: usize,
) -> PyResult<()> {
    let bodies: Vec<Bound<'_, PyBytes>> = bodies.extract()?;
    let mut out = Contiguous::writable(out)?;
    let size = out.len();
    if bodies.len().checked_mul(length) != Some(size) {
        let count = bodies.len();
        return Err(PyValueError::new_err(format!(
            "{count} pieces of {length} bytes do not fill a buffer of {size}"
        )));
    }
    if length == 0 {
        return Ok(());
    }
    for (body, room) in bodies.iter().zip(out.bytes_mut().chunks_exact_mut(length)) {
        let body = body.as_bytes();
        let end = offset.checked_add(length);
        let Some(piece) = end.and_then(|end| body.get(offset..end)) else {
            return Err(PyValueError::new_err(format!(
                "a body of {} bytes has no {length} from {offset} on",
                body.len()
            )));
        };
        room.copy_from_slice(piece);
    }
    Ok(())
}

/// A message as Python's bytes, copied once.
pub(crate) fn to_python<'py>(py: Python<'py>, body: &Body) -> PyResult<Bound<'py, PyBytes>> {
    match body {
        Body::Whole(bytes) => Ok(PyBytes::new(py, bytes)),
        Body::Pieces(pieces, length) => join(py, pieces, *length),
    }
}

fn join<'py>(py: Python<'py>, pieces: &[Bytes], length: usize) -> PyResult<Bound<'py, PyBytes>> {
    let size = ffi::Py_ssize_t::try_from(length)?;
    // SAFETY: without a source the new object's bytes are ours to fill, uninitialized, and nobody
    // else has it; `pieces` have `length` bytes together, which is asserted before the copies.
    unsafe {
        let object = ffi::PyBytes_FromStringAndSize(std::ptr::null(), size);
        let object = Bound::from_owned_ptr_or_err(py, object)?;
        let mut room: *mut u8 = ffi::PyBytes_AsString(object.as_ptr()).cast();
        assert_eq!(pieces.iter().map(Bytes::len).sum::<usize>(), length);
        for piece in pieces {
            std::ptr::copy_nonoverlapping(piece.as_ptr(), room, piece.len());
            room = room.add(piece.len());
        }
        Ok(object.cast_into_unchecked())
    }
}

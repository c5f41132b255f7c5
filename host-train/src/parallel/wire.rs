//! What goes over a connection: messages with a length, numbers as little-endian bytes.

use super::PeersError;
use candle_core::{Tensor, WithDType};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Longer than the weights of any network here; a longer message is none of ours.
const LONGEST: u64 = 1 << 31;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Data = 1,
    /// The reason why its sender has given up.
    Abandoned = 2,
}

/// A connection to the process of one rank.
#[derive(Debug)]
pub struct Line {
    stream: TcpStream,
    rank: usize,
    patience: Duration,
}

impl Line {
    /// A connection on which each wait lasts `patience` at most.
    pub fn new(stream: TcpStream, rank: usize, patience: Duration) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Self { stream, rank, patience })
    }

    /// The same connection, now that it is known who is there.
    pub fn with_rank(self, rank: usize, patience: Duration) -> io::Result<Self> {
        Self::new(self.stream, rank, patience)
    }

    pub fn send(&self, data: &[u8]) -> Result<(), PeersError> {
        self.write(Kind::Data, data)
    }

    /// Says that this process has given up. Whether it arrives does not matter any more.
    pub fn abandon(&self, why: &str) {
        let _ = self.write(Kind::Abandoned, why.as_bytes());
    }

    pub fn receive(&self) -> Result<Vec<u8>, PeersError> {
        let mut head = [0; 9];
        (&self.stream).read_exact(&mut head).map_err(|error| self.failed(&error))?;
        let [kind, length @ ..] = head;
        let length = u64::from_le_bytes(length);
        let known = [Kind::Data, Kind::Abandoned].into_iter().find(|own| *own as u8 == kind);
        let Some(kind) = known.filter(|_| length <= LONGEST) else {
            return Err(self.gone("it speaks another language"));
        };
        // Grows with what arrives: a length alone reserves nothing.
        let mut data = Vec::new();
        let read = (&self.stream).take(length).read_to_end(&mut data);
        read.map_err(|error| self.failed(&error))?;
        if (data.len() as u64) < length {
            return Err(self.gone("the connection ended within a message"));
        }
        match kind {
            Kind::Data => Ok(data),
            Kind::Abandoned => {
                Err(PeersError::Abandoned(String::from_utf8_lossy(&data).into_owned()))
            }
        }
    }

    fn write(&self, kind: Kind, data: &[u8]) -> Result<(), PeersError> {
        let mut message = Vec::with_capacity(data.len() + 9);
        message.push(kind as u8);
        message.extend_from_slice(&(data.len() as u64).to_le_bytes());
        message.extend_from_slice(data);
        (&self.stream).write_all(&message).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &io::Error) -> PeersError {
        match error.kind() {
            // Unix and Windows name a timeout differently.
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                PeersError::Silent { rank: self.rank, patience: self.patience }
            }
            _ => self.gone(&error.to_string()),
        }
    }

    fn gone(&self, what: &str) -> PeersError {
        PeersError::Gone { rank: self.rank, what: what.to_owned() }
    }
}

/// Several messages as one.
pub fn join(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(messages.iter().map(|message| message.len() + 8).sum());
    for message in messages {
        joined.extend_from_slice(&(message.len() as u64).to_le_bytes());
        joined.extend_from_slice(message);
    }
    joined
}

/// The messages that [`join`] made one of; `None` when it is not such a one.
pub fn split(mut joined: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut messages = Vec::new();
    while let Some((length, rest)) = joined.split_first_chunk::<8>() {
        let (message, rest) = rest.split_at_checked(u64::from_le_bytes(*length) as usize)?;
        messages.push(message.to_vec());
        joined = rest;
    }
    joined.is_empty().then_some(messages)
}

/// The elements of `f32` tensors one after the other.
pub fn flatten<'a>(tensors: impl Iterator<Item = &'a Tensor>) -> candle_core::Result<Vec<f32>> {
    let mut all = Vec::new();
    for tensor in tensors {
        if tensor.dtype() != f32::DTYPE {
            candle_core::bail!("{:?} tensors are not exchanged, only F32", tensor.dtype());
        }
        all.extend(tensor.flatten_all()?.to_vec1::<f32>()?);
    }
    Ok(all)
}

/// Numbers as they are sent.
pub fn bytes(numbers: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(numbers.len() * 4);
    numbers.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
    bytes
}

/// Numbers as they were sent.
pub fn floats(bytes: &[u8]) -> Vec<f32> {
    let (fours, _) = bytes.as_chunks::<4>();
    fours.iter().map(|four| f32::from_le_bytes(*four)).collect()
}

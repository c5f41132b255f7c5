//! Processes joined over TCP, on the CPU: rank 0 in the middle, each other connected to it.
//!
//! Gradients go to rank 0 in buckets of [`BUCKET`] numbers; it adds them in the order of the ranks,
//! divides by their number and sends the mean back. The order of summation is fixed and the mean is
//! computed once, so all processes get the same bits and a repetition gives them again. Each process
//! but the first sends and receives every gradient once; all of it passes through rank 0, which is
//! right for a few machines. The connection is neither encrypted nor authenticated: for a cluster's own
//! network only.

use super::wire::{self, Line};
use super::{Peers, PeersError, Place};
use crate::gradients::Gradients;
use candle_core::{Shape, Tensor};
use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Numbers sent at once: 4 MiB, so that the network is busy while a process converts and adds, and the
/// copies stay in the cache.
const BUCKET: usize = 1 << 20;
/// How long a new connection may take to say who it is, before it is taken for a stray.
const INTRODUCTION: Duration = Duration::from_secs(10);
/// Between two looks for a new connection, or for rank 0.
const PAUSE: Duration = Duration::from_millis(50);
/// First bytes of an introduction.
const GREETING: &str = "glaucoma peers";
const WELCOME: &[u8] = b"welcome";

/// Other processes, reached over TCP.
#[derive(Debug)]
pub struct TcpPeers {
    rank: usize,
    count: usize,
    /// To ranks 1, 2, ... in the first process; to rank 0 in the others.
    lines: Vec<Line>,
}

impl TcpPeers {
    /// Waits until all processes have found each other.
    ///
    /// # Errors
    /// Not all are there after the patience of `place`, two say that they are the same, or one is of
    /// another version of this program.
    pub fn meet(place: &Place) -> Result<Self, PeersError> {
        let lines = if place.rank == 0 { listen(place)? } else { vec![call(place)?] };
        Ok(Self { rank: place.rank, count: place.count, lines })
    }

    /// Runs `work`; should it fail in the first process, the others are told why.
    fn together<T>(&self, work: impl FnOnce() -> Result<T, PeersError>) -> Result<T, PeersError> {
        work().inspect_err(|error| {
            if self.rank == 0 {
                self.lines.iter().for_each(|line| line.abandon(&error.to_string()));
            }
        })
    }

    /// The mean of `own` over the processes, in place.
    fn mean(&self, own: &mut [f32]) -> Result<(), PeersError> {
        for bucket in own.chunks_mut(BUCKET) {
            if self.rank != 0 {
                let [first] = self.lines.as_slice() else { return Ok(()) };
                first.send(&wire::bytes(bucket))?;
                copy(&wire::floats(&first.receive()?), bucket, 0)?;
                continue;
            }
            for (line, rank) in self.lines.iter().zip(1..) {
                let theirs = wire::floats(&line.receive()?);
                if theirs.len() != bucket.len() {
                    return Err(other_gradients(rank));
                }
                bucket.iter_mut().zip(theirs).for_each(|(sum, theirs)| *sum += theirs);
            }
            let count = self.count as f32;
            bucket.iter_mut().for_each(|sum| *sum /= count);
            let mean = wire::bytes(bucket);
            self.lines.iter().try_for_each(|line| line.send(&mean))?;
        }
        Ok(())
    }

    /// The shape of every gradient that any process has.
    pub(super) fn shapes(&self, own: &Gradients) -> Result<Vec<Option<Shape>>, PeersError> {
        let mut shapes: Vec<Option<Shape>> = vec![None; own.len()];
        for (rank, told) in self.exchange(&describe(own))?.iter().enumerate() {
            let theirs = understand(told).filter(|theirs| theirs.len() == shapes.len());
            let theirs = theirs.ok_or_else(|| other_gradients(rank))?;
            for (shape, their) in shapes.iter_mut().zip(theirs) {
                match (&shape, their) {
                    (None, their) => *shape = their,
                    (Some(known), Some(their)) if *known != their => {
                        return Err(other_gradients(rank));
                    }
                    (Some(_), _) => {}
                }
            }
        }
        Ok(shapes)
    }
}

impl Peers for TcpPeers {
    fn rank(&self) -> usize {
        self.rank
    }

    fn count(&self) -> usize {
        self.count
    }

    fn exchange(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, PeersError> {
        self.together(|| {
            if let (1.., [first]) = (self.rank, self.lines.as_slice()) {
                first.send(own)?;
                let all = wire::split(&first.receive()?).filter(|all| all.len() == self.count);
                let what = || "it speaks another language".to_owned();
                return all.ok_or_else(|| PeersError::Gone { rank: 0, what: what() });
            }
            let mut all = vec![own.to_vec()];
            for line in &self.lines {
                all.push(line.receive()?);
            }
            let joined = wire::join(&all);
            self.lines.iter().try_for_each(|line| line.send(&joined))?;
            Ok(all)
        })
    }

    fn average(&self, gradients: Gradients) -> Result<Gradients, PeersError> {
        let shapes = self.shapes(&gradients)?;
        let device = gradients.iter().flatten().next().map(|own| own.device().clone());
        let device = device.unwrap_or(candle_core::Device::Cpu);
        let mut flat = Vec::new();
        for (own, shape) in gradients.iter().zip(&shapes) {
            match (own, shape) {
                (Some(own), _) => flat.extend(wire::flatten(std::iter::once(own))?),
                (None, Some(shape)) => flat.resize(flat.len() + shape.elem_count(), 0.0),
                (None, None) => {}
            }
        }
        drop(gradients);
        self.together(|| self.mean(&mut flat))?;
        let mut at = 0;
        let mean = shapes.into_iter().map(|shape| {
            let Some(shape) = shape else { return Ok(None) };
            let values = &flat[at..at + shape.elem_count()];
            at += shape.elem_count();
            Tensor::from_slice(values, shape, &device).map(Some)
        });
        Ok(mean.collect::<candle_core::Result<_>>()?)
    }
}

fn copy(from: &[f32], to: &mut [f32], rank: usize) -> Result<(), PeersError> {
    if from.len() != to.len() {
        return Err(other_gradients(rank));
    }
    to.copy_from_slice(from);
    Ok(())
}

fn other_gradients(rank: usize) -> PeersError {
    PeersError::Different { rank, what: "set of gradients".into() }
}

/// Number of sides and the sides of each gradient; 255 for one that is not there.
fn describe(gradients: &Gradients) -> Vec<u8> {
    let mut told = Vec::new();
    for gradient in gradients.iter() {
        let Some(gradient) = gradient else {
            told.push(u8::MAX);
            continue;
        };
        told.push(gradient.rank() as u8);
        for &side in gradient.dims() {
            told.extend((side as u32).to_le_bytes());
        }
    }
    told
}

fn understand(mut told: &[u8]) -> Option<Vec<Option<Shape>>> {
    let mut shapes = Vec::new();
    while let Some((&sides, rest)) = told.split_first() {
        if sides == u8::MAX {
            shapes.push(None);
            told = rest;
            continue;
        }
        let (sides, rest) = rest.split_at_checked(usize::from(sides) * 4)?;
        let (fours, _) = sides.as_chunks::<4>();
        let sides: Vec<usize> =
            fours.iter().map(|four| u32::from_le_bytes(*four) as usize).collect();
        shapes.push(Some(Shape::from(sides)));
        told = rest;
    }
    Some(shapes)
}

/// What a process says first: who it is, of how many, of which version.
fn introduction(place: &Place) -> String {
    format!("{GREETING}\n{}\n{}\n{}", env!("CARGO_PKG_VERSION"), place.count, place.rank)
}

/// The first process: waits for all others, in whatever order they come.
fn listen(place: &Place) -> Result<Vec<Line>, PeersError> {
    let fail = |what: String| PeersError::Meeting { address: address(place), what };
    let listener = TcpListener::bind((own_address(&place.address), place.port))
        .map_err(|error| fail(format!("cannot listen: {error}")))?;
    listener.set_nonblocking(true).map_err(|error| fail(error.to_string()))?;
    let mut lines: Vec<Option<Line>> = (1..place.count).map(|_| None).collect();
    let met = gather(&listener, &mut lines, place);
    let lines: Vec<Line> = lines.into_iter().flatten().collect();
    if let Err(error) = met {
        lines.iter().for_each(|line| line.abandon(&error.to_string()));
        return Err(error);
    }
    lines.iter().try_for_each(|line| line.send(WELCOME))?;
    Ok(lines)
}

fn gather(
    listener: &TcpListener,
    lines: &mut [Option<Line>],
    place: &Place,
) -> Result<(), PeersError> {
    let fail = |what: String| PeersError::Meeting { address: address(place), what };
    let deadline = Instant::now() + place.patience;
    while lines.iter().any(Option::is_none) {
        match listener.accept() {
            Ok((stream, _)) => {
                if let Some((rank, line)) = admit(stream, place)? {
                    let slot = &mut lines[rank - 1];
                    if slot.is_some() {
                        return Err(fail(format!("two processes say that they are rank {rank}")));
                    }
                    *slot = Some(line);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if Instant::now() >= deadline {
                    let absent = lines.iter().zip(1..).filter(|(line, _)| line.is_none());
                    let absent: Vec<String> = absent.map(|(_, rank)| rank.to_string()).collect();
                    let absent = absent.join(", ");
                    return Err(fail(format!("the processes of ranks {absent} have not come")));
                }
                std::thread::sleep(PAUSE);
            }
            Err(error) => return Err(fail(error.to_string())),
        }
    }
    Ok(())
}

/// Who has called. `None`: no process of this program.
fn admit(stream: TcpStream, place: &Place) -> Result<Option<(usize, Line)>, PeersError> {
    // Its rank is not known yet; until it is, no error is passed on.
    let Ok(line) = Line::new(stream, 0, INTRODUCTION.min(place.patience)) else { return Ok(None) };
    let Ok(told) = line.receive() else { return Ok(None) };
    let told = String::from_utf8_lossy(&told).into_owned();
    let mut parts = told.split('\n');
    let (greeting, version, count) = (parts.next(), parts.next(), parts.next());
    let rank = parts.next().and_then(|rank| rank.parse::<usize>().ok());
    let (Some(GREETING), Some(rank)) = (greeting, rank) else { return Ok(None) };
    let different = if version != Some(env!("CARGO_PKG_VERSION")) {
        Some("version of this program")
    } else if count.and_then(|count| count.parse().ok()) != Some(place.count) {
        Some("number of processes")
    } else if rank == 0 || rank >= place.count {
        Some("place: its rank is impossible")
    } else {
        None
    };
    if let Some(what) = different {
        let error = PeersError::Different { rank, what: what.into() };
        line.abandon(&error.to_string());
        return Err(error);
    }
    Ok(line.with_rank(rank, place.patience).ok().map(|line| (rank, line)))
}

/// The other processes: look for the first until it is there.
fn call(place: &Place) -> Result<Line, PeersError> {
    let fail = |what: String| PeersError::Meeting { address: address(place), what };
    let deadline = Instant::now() + place.patience;
    let stream = loop {
        match TcpStream::connect((place.address.as_str(), place.port)) {
            Ok(stream) => break stream,
            Err(error) if Instant::now() >= deadline => {
                return Err(fail(format!("rank 0 is not to be reached: {error}")));
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    };
    let line = Line::new(stream, 0, place.patience).map_err(|error| fail(error.to_string()))?;
    line.send(introduction(place).as_bytes())?;
    if line.receive()? == WELCOME { Ok(line) } else { Err(fail("no rank 0 is there".into())) }
}

fn address(place: &Place) -> String {
    format!("{}:{}", place.address, place.port)
}

/// Where to listen: on the machine itself when all processes are there, else on all its networks,
/// since a machine may know its own name as an address that others cannot reach.
fn own_address(address: &str) -> IpAddr {
    let named = address.parse::<IpAddr>();
    let local = address == "localhost" || named.as_ref().is_ok_and(|own| own.is_loopback());
    match named {
        Ok(own) if local => own,
        Ok(IpAddr::V6(_)) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
        _ if local => IpAddr::V4(Ipv4Addr::LOCALHOST),
        _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    }
}

//! `--device`: where a network computes.

use crate::network::cuda::{self, DeviceError, Precision};
use candle_core::Device;
use std::str::FromStr;

/// What `--device` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// This machine's processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU by its number, from 0; without one, by the process's rank on its machine.
    Cuda(Option<usize>),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = match text {
            "cpu" => return Ok(Self::Cpu),
            "cuda" => return Ok(Self::Cuda(None)),
            other => other.strip_prefix("cuda:").and_then(|number| number.parse().ok()),
        };
        number.map(|n| Self::Cuda(Some(n))).ok_or_else(|| "must be cpu, cuda or cuda:N".to_owned())
    }
}

impl Place {
    /// Makes the device ready; `None` is its usual precision, and `local_rank` which of the processes on
    /// this machine asks.
    ///
    /// # Errors
    /// A precision that the CPU does not have, no such GPU, or a program without CUDA.
    pub fn open(
        self,
        precision: Option<Precision>,
        local_rank: usize,
    ) -> Result<Device, DeviceError> {
        match (self, precision) {
            (Self::Cpu, None | Some(Precision::F32)) => Ok(Device::Cpu),
            (Self::Cpu, Some(other)) => Err(DeviceError::Precision(other)),
            (Self::Cuda(number), precision) => {
                cuda::open(number.unwrap_or(local_rank), precision.unwrap_or_default())
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_others_refused() {
        assert_eq!("cpu".parse(), Ok(Place::Cpu));
        assert_eq!("cuda".parse(), Ok(Place::Cuda(None)));
        assert_eq!("cuda:3".parse(), Ok(Place::Cuda(Some(3))));
        for text in ["", "gpu", "cuda:", "cuda:-1", "cuda3", "CPU"] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_cpu_has_one_precision() {
        assert!(Place::Cpu.open(None, 0).unwrap().is_cpu());
        assert!(Place::Cpu.open(Some(Precision::F32), 0).is_ok());
        for precision in [Precision::Tf32, Precision::Bf16] {
            let refused = Place::Cpu.open(Some(precision), 0);
            assert!(matches!(refused, Err(DeviceError::Precision(own)) if own == precision));
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn without_the_feature_a_gpu_is_refused_with_the_way_to_get_it() {
        let refused = Place::Cuda(None).open(None, 0).unwrap_err().to_string();
        assert!(refused.contains("--features cuda"), "{refused}");
    }
}

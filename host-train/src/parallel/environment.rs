//! Who this process is among its peers, from the variables that launchers set.
//!
//! | | `torchrun` | Slurm's `srun` |
//! |---|---|---|
//! | which | `RANK` | `SLURM_PROCID` |
//! | how many | `WORLD_SIZE` | `SLURM_NTASKS` |
//! | which on its machine | `LOCAL_RANK` | `SLURM_LOCALID` |
//! | where rank 0 is | `MASTER_ADDR`, `MASTER_PORT` | the same, set in the job's script |
//!
//! `torchrun` itself listens on `MASTER_PORT` and says so (`TORCHELASTIC_USE_AGENT_STORE=True`): the
//! next port is then used. Without a port it is 29500, PyTorch's own. `PEERS_TIMEOUT` is the number of
//! seconds after which a silent process is given up, [`PATIENCE`] when it is not set. Rank 0 is silent
//! while it validates, so it must be longer than a validation; a process that has *ended* is noticed at
//! once, whatever the timeout.

use super::PeersError;
use std::str::FromStr;
use std::time::Duration;

/// Half an hour, as PyTorch's.
pub const PATIENCE: Duration = Duration::from_secs(30 * 60);
const PORT: u16 = 29500;

/// Who this process is, and where it meets the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which of all processes, from 0.
    pub rank: usize,
    /// How many processes.
    pub count: usize,
    /// Which of the processes on this machine, from 0: which accelerator is its own.
    pub local_rank: usize,
    /// Name or address of the machine of rank 0.
    pub address: String,
    /// The port that rank 0 listens on.
    pub port: u16,
    /// How long a silent process is waited for.
    pub patience: Duration,
}

impl Place {
    /// Reads the place from `variable`, which gives the value of an environment variable.
    ///
    /// # Errors
    /// [`PeersError::Environment`]: a variable is missing, not a number, or out of range.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, PeersError> {
        let elastic = variable("TORCHELASTIC_USE_AGENT_STORE").is_some_and(|told| told == "True");
        let names = if variable("WORLD_SIZE").is_some() || variable("SLURM_NTASKS").is_none() {
            ["WORLD_SIZE", "RANK", "LOCAL_RANK"]
        } else {
            ["SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID"]
        };
        let count = number(&variable, names[0])?.unwrap_or(1);
        let seconds = number(&variable, "PEERS_TIMEOUT")?;
        let patience = seconds.map_or(PATIENCE, Duration::from_secs);
        if patience.is_zero() {
            return Err(wrong("PEERS_TIMEOUT", "must be at least 1"));
        }
        if count == 0 {
            return Err(wrong(names[0], "must be at least 1"));
        }
        let port = number(&variable, "MASTER_PORT")?.unwrap_or(PORT);
        let local_rank = number(&variable, names[2])?.unwrap_or(0);
        let alone = Self { rank: 0, count, local_rank, address: String::new(), port, patience };
        if count == 1 {
            return Ok(alone);
        }
        let rank = number(&variable, names[1])?.ok_or_else(|| wrong(names[1], "is not set"))?;
        if rank >= count {
            return Err(wrong(names[1], &format!("is {rank}, must be below {count}")));
        }
        let address = variable("MASTER_ADDR").filter(|address| !address.is_empty());
        let address = address.ok_or_else(|| {
            let what = "is not set: the name of the machine of rank 0 (WORLD_SIZE=1 trains alone)";
            wrong("MASTER_ADDR", what)
        })?;
        // The last port has no next one.
        let port = if elastic { port.checked_add(1).unwrap_or(port - 1) } else { port };
        Ok(Self { rank, address, port, ..alone })
    }
}

fn number<T: FromStr>(
    variable: &impl Fn(&str) -> Option<String>,
    name: &'static str,
) -> Result<Option<T>, PeersError> {
    let Some(text) = variable(name) else { return Ok(None) };
    let number = text.trim().parse();
    number.map(Some).map_err(|_| wrong(name, &format!("`{text}` is not a number it can be")))
}

fn wrong(variable: &'static str, what: &str) -> PeersError {
    PeersError::Environment { variable, what: what.to_owned() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(set: &[(&str, &str)]) -> Result<Place, PeersError> {
        let find = |name: &str| set.iter().find(|(own, _)| *own == name);
        Place::read(|name| find(name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn launchers_are_understood() {
        let alone = read(&[]).unwrap();
        assert_eq!((alone.rank, alone.count, alone.patience), (0, 1, PATIENCE));
        let torchrun = [("RANK", "3"), ("WORLD_SIZE", "4"), ("LOCAL_RANK", "1")];
        let meeting = [("MASTER_ADDR", "first"), ("MASTER_PORT", "4711")];
        let place = read(&[&torchrun[..], &meeting].concat()).unwrap();
        let patience = PATIENCE;
        let wanted = |port| {
            let address = "first".into();
            Place { rank: 3, count: 4, local_rank: 1, address, port, patience }
        };
        assert_eq!(place, wanted(4711));
        let agent = [("TORCHELASTIC_USE_AGENT_STORE", "True")];
        assert_eq!(read(&[&torchrun[..], &meeting, &agent].concat()).unwrap(), wanted(4712));
        let slurm = [("SLURM_PROCID", "3"), ("SLURM_NTASKS", "4"), ("SLURM_LOCALID", "1")];
        assert_eq!(
            read(&[&slurm[..], &[("MASTER_ADDR", "first")]].concat()).unwrap(),
            wanted(29500)
        );
        assert_eq!(read(&[&slurm[..], &[("WORLD_SIZE", "1")]].concat()).unwrap().count, 1);
    }

    #[test]
    fn what_is_not_clear_is_refused_by_name() {
        let cases: [(&[(&str, &str)], &str); 6] = [
            (&[("WORLD_SIZE", "two")], "WORLD_SIZE"),
            (&[("WORLD_SIZE", "0")], "WORLD_SIZE"),
            (&[("WORLD_SIZE", "2"), ("MASTER_ADDR", "a")], "RANK"),
            (&[("WORLD_SIZE", "2"), ("RANK", "2"), ("MASTER_ADDR", "a")], "RANK"),
            (&[("SLURM_NTASKS", "2"), ("SLURM_PROCID", "0")], "MASTER_ADDR"),
            (&[("PEERS_TIMEOUT", "0")], "PEERS_TIMEOUT"),
        ];
        for (set, name) in cases {
            let message = read(set).unwrap_err().to_string();
            assert!(message.contains(name), "{set:?} gave {message}");
        }
    }
}

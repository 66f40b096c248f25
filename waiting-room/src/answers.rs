//! What the scripts answer, read.

use contract::ShowId;

use crate::{LineError, spot::Spot};

/// What a script says, or that the store has lost the line.
#[derive(Debug)]
pub(crate) enum Told<T> {
    Known(T),
    Flushed,
}

/// How a join ended.
#[derive(Debug)]
pub(crate) enum Joined {
    /// Numbers of this epoch must be reserved first.
    Full {
        epoch: u32,
    },
    Placed {
        how: Placed,
        epoch: u32,
        seq: u64,
        spot: Spot,
    },
}

/// How an account came to its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    New,
    /// By a ticket that the store had lost.
    Back,
    /// It has it already.
    Waiting,
    Admitting,
    Admitted,
}

/// Where a ticket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whereabouts {
    Waiting,
    /// Taken from the line, not in the log yet.
    Admitting,
    Admitted,
    Left,
    Expired,
    Unknown,
}

/// What a visitor who left gave back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GivenBack {
    Place,
    /// The visitor was admitted, or was just being.
    Pass,
    Nothing,
}

/// Where tickets are, in the order they were asked for, with their records or accounts.
pub(crate) struct Touched {
    pub epoch: u32,
    pub seq: u64,
    pub tickets: Vec<(Whereabouts, String)>,
}

/// What a sweep found.
pub(crate) struct Swept {
    pub epoch: u32,
    pub seq: u64,
    pub active: u64,
    pub absent: u64,
    /// Taken from the line by a node that did not finish.
    pub unsettled: Vec<Spot>,
}

impl Joined {
    /// Reads the answer of a join.
    pub(crate) fn read(show: ShowId, answer: &[String]) -> Result<Told<Self>, LineError> {
        let words: Vec<&str> = answer.iter().map(String::as_str).collect();
        let how = match words.as_slice() {
            ["FLUSHED"] => return Ok(Told::Flushed),
            ["FULL", epoch] => return Ok(Told::Known(Self::Full { epoch: number(epoch)? })),
            ["NEW", ..] => Placed::New,
            ["BACK", ..] => Placed::Back,
            ["WAITING", ..] => Placed::Waiting,
            ["ADMITTING", ..] => Placed::Admitting,
            ["ADMITTED", ..] => Placed::Admitted,
            _ => return Err(unreadable(answer)),
        };
        let [_, seq, ticket, record, epoch] = words.as_slice() else {
            return Err(unreadable(answer));
        };
        let spot = Spot::parse(show, ticket, record)?;
        Ok(Told::Known(Self::Placed { how, epoch: number(epoch)?, seq: number(seq)?, spot }))
    }
}

impl GivenBack {
    /// Reads the answer of a leave.
    pub(crate) fn read(answer: &str) -> Result<Told<Self>, LineError> {
        Ok(Told::Known(match answer {
            "FLUSHED" => return Ok(Told::Flushed),
            "PLACE" => Self::Place,
            "PASS" => Self::Pass,
            "NOTHING" => Self::Nothing,
            other => return Err(LineError::Unreadable(other.to_owned())),
        }))
    }
}

impl Touched {
    /// Reads the answer of a touch.
    pub(crate) fn read(answer: &[String]) -> Result<Told<Self>, LineError> {
        let Some((epoch, seq, rest)) = known(answer)? else { return Ok(Told::Flushed) };
        let tickets =
            rest.chunks_exact(2).map(|pair| Ok((whereabouts(&pair[0])?, pair[1].clone())));
        let tickets = tickets.collect::<Result<_, LineError>>()?;
        Ok(Told::Known(Self { epoch, seq, tickets }))
    }
}

impl Swept {
    /// Reads the answer of a sweep.
    pub(crate) fn read(show: ShowId, answer: &[String]) -> Result<Told<Self>, LineError> {
        let Some((epoch, seq, rest)) = known(answer)? else { return Ok(Told::Flushed) };
        let Some(([active, absent], unsettled)) = rest.split_first_chunk::<2>() else {
            return Err(unreadable(answer));
        };
        let unsettled = spots(show, unsettled)?;
        let (active, absent) = (number(active)?, number(absent)?);
        Ok(Told::Known(Self { epoch, seq, active, absent, unsettled }))
    }
}

/// Reads the answer of an admission: who was taken from the line.
pub(crate) fn taken(show: ShowId, answer: &[String]) -> Result<Told<Vec<Spot>>, LineError> {
    match answer {
        [flushed] if flushed == "FLUSHED" => Ok(Told::Flushed),
        [ok, _epoch, rest @ ..] if ok == "OK" => Ok(Told::Known(spots(show, rest)?)),
        _ => Err(unreadable(answer)),
    }
}

/// Epoch, seq, and what follows them.
type Known<'a> = (u32, u64, &'a [String]);

/// Splits an answer into epoch, seq and the rest; `None` for FLUSHED.
fn known(answer: &[String]) -> Result<Option<Known<'_>>, LineError> {
    match answer {
        [flushed] if flushed == "FLUSHED" => Ok(None),
        [ok, epoch, seq, rest @ ..] if ok == "OK" => Ok(Some((number(epoch)?, number(seq)?, rest))),
        _ => Err(unreadable(answer)),
    }
}

fn spots(show: ShowId, pairs: &[String]) -> Result<Vec<Spot>, LineError> {
    pairs.chunks_exact(2).map(|pair| Spot::parse(show, &pair[0], &pair[1])).collect()
}

fn whereabouts(word: &str) -> Result<Whereabouts, LineError> {
    Ok(match word {
        "WAITING" => Whereabouts::Waiting,
        "ADMITTING" => Whereabouts::Admitting,
        "ADMITTED" => Whereabouts::Admitted,
        "LEFT" => Whereabouts::Left,
        "EXPIRED" => Whereabouts::Expired,
        "UNKNOWN" => Whereabouts::Unknown,
        other => return Err(LineError::Unreadable(other.to_owned())),
    })
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, LineError> {
    text.parse().map_err(|_| LineError::Unreadable(format!("`{text}` is no number")))
}

fn unreadable(answer: &[String]) -> LineError {
    LineError::Unreadable(format!("{answer:?}"))
}

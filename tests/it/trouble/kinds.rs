//! What may be wrong with a job, and what is to become of it then.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::Value;

use crate::harness::stack::{logo, with};

pub(super) const MAX_PACKAGE_BYTES: usize = 64 * 1024;

/// At least one of each class. Source: PostgreSQL, "Appendix A. PostgreSQL Error Codes".
pub(super) const SQLSTATES: &str = "01000 01007 02000 03000 08000 08003 08006 08P01 09000 0A000 0B000 0F000 0L000 0P000 0Z000 20000 21000 \
    22000 22001 22003 22007 22012 22021 22023 22P02 22P05 23000 23001 23502 23503 23505 23514 23P01 24000 25000 25001 25006 25P02 \
    25P03 26000 27000 28000 28P01 2B000 2D000 2F000 34000 38000 39000 3B000 3D000 3F000 40000 40001 40002 40003 40P01 42000 42501 \
    42601 42703 42804 42P01 44000 53000 53100 53200 53300 53400 54000 54001 54011 55000 55006 55P03 55P04 57000 57014 57P01 57P02 \
    57P03 57P04 57P05 58000 58030 58P01 72000 F0000 HV000 P0000 P0001 P0002 P0003 P0004 XX000 XX001 XX002";

/// What a trigger may say although something else is meant by it, beside words of its own.
const SAYINGS: [&str; 6] = [
    "the tenant is closed",
    "deadlock detected",
    "canceling statement due to lock timeout",
    "could not obtain lock on row in relation \"tenants\"",
    "server closed the connection unexpectedly",
    "cannot execute UPDATE in a read-only transaction",
];

/// What is wrong with a job.
#[derive(Clone, Debug)]
pub(super) enum Trouble {
    /// A trigger refuses its row whatever is written, or its end, or its image.
    Raised {
        place: &'static str,
        code: &'static str,
        said: String,
    },
    /// The application has locked its row.
    RowLocked,
    /// The application has locked the owner of its image, whom a foreign key looks for.
    OwnerLocked,
    /// Its package is as large as one may be. Nothing else is wrong with it.
    AlmostTooLarge,
    TooLarge,
    Malformed,
    /// Its number is nobody's.
    NoRow,
}

impl Trouble {
    pub(super) fn random(rng: &mut StdRng) -> Self {
        match rng.random_range(0..20) {
            0..9 => {
                let codes: Vec<&str> = SQLSTATES.split_whitespace().collect();
                Self::raised(codes.choose(rng).unwrap(), rng)
            }
            9..11 => Self::RowLocked,
            11..13 => Self::OwnerLocked,
            13..15 => Self::AlmostTooLarge,
            15..17 => Self::TooLarge,
            17..19 => Self::Malformed,
            _ => Self::NoRow,
        }
    }

    pub(super) fn raised(code: &'static str, rng: &mut StdRng) -> Self {
        Self::Raised {
            place: ["row", "end", "image"].choose(rng).unwrap(),
            code,
            said: (*SAYINGS.choose(rng).unwrap()).to_owned(),
        }
    }

    /// A picture is bought for it.
    pub(super) fn is_bought(&self) -> bool {
        !matches!(self, Self::TooLarge | Self::Malformed | Self::NoRow)
    }

    pub(super) fn letter(&self) -> Option<&str> {
        match self {
            Self::Raised { said, .. } => Some(said),
            Self::NoRow => Some("there is no row"),
            Self::Malformed => Some("prompt"),
            _ => None,
        }
    }

    /// It says that it may be taken another time, so its package is still waiting for that.
    pub(super) fn may_wait(&self) -> bool {
        match self {
            Self::RowLocked | Self::OwnerLocked => true,
            Self::Raised { code, said, .. } => {
                matches!(*code, "40001" | "25006")
                    || ["deadlock", "canceling", "could not obtain"]
                        .iter()
                        .any(|begin| said.starts_with(begin))
            }
            _ => false,
        }
    }

    pub(super) fn package(&self, job_id: i32, rng: &mut StdRng) -> String {
        let package = with(logo(job_id), "userId", job_id);
        let padded = |bytes: usize| with(package.clone(), "note", "x".repeat(bytes)).to_string();
        match self {
            Self::AlmostTooLarge => {
                let own = padded(0).len();
                padded(MAX_PACKAGE_BYTES - own - rng.random_range(0..3))
            }
            Self::TooLarge => padded(MAX_PACKAGE_BYTES + rng.random_range(0..MAX_PACKAGE_BYTES * 20)),
            Self::Malformed => match rng.random_range(0..3) {
                0 => with(package, "prompt", rng.random_range(0..9)).to_string(),
                1 => with(package, "prompt", "").to_string(),
                _ => with(package, "prompt", Value::Null).to_string(),
            },
            _ => package.to_string(),
        }
    }
}

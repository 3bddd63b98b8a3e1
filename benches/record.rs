//! What was measured: figures by workload, case and peer, and the ratios of peers within a round.

use std::collections::BTreeMap;
use std::path::Path;

use tokio::time::Instant;

use crate::machine;
use crate::options::Options;
use crate::peer::Kind;
use crate::stand::Stand;

/// A run during which others used more than this share of the machine is noisy.
const NOISY: f64 = 0.15;

/// The figures of one run.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    values: BTreeMap<&'static str, f64>,
    /// The share of the machine that was used by others.
    pub(crate) others: f64,
}

impl Figures {
    pub(crate) fn new(others: f64) -> Self {
        Self {
            values: BTreeMap::new(),
            others,
        }
    }

    pub(crate) fn set(&mut self, name: &'static str, value: f64) {
        self.values.insert(name, value);
    }
}

/// Workload and case, such as ("overhead", 100).
type Case = (&'static str, usize);

/// Everything that was measured.
pub(crate) struct Run<'a> {
    pub(crate) options: &'a Options,
    pub(crate) stand: &'a Stand,
    begun: Instant,
    figures: BTreeMap<(Case, Kind), Vec<Figures>>,
    /// Results that are no figures of peers, by name.
    pub(crate) facts: BTreeMap<&'static str, f64>,
    pub(crate) sharp: Option<crate::sharp::Sharp>,
    pub(crate) parts: Option<String>,
}

impl<'a> Run<'a> {
    pub(crate) fn new(options: &'a Options, stand: &'a Stand) -> Self {
        Self {
            options,
            stand,
            begun: Instant::now(),
            figures: BTreeMap::new(),
            facts: BTreeMap::new(),
            sharp: None,
            parts: None,
        }
    }

    pub(crate) fn minutes(&self) -> f64 {
        self.begun.elapsed().as_secs_f64() / 60.0
    }

    /// Measures each peer once per round, in an order that rotates.
    pub(crate) async fn rounds(
        &mut self,
        case: Case,
        kinds: &[Kind],
        worker: &Path,
        measure: impl AsyncFn(Kind, &Path, &Stand) -> anyhow::Result<Figures>,
    ) -> anyhow::Result<()> {
        for round in 0..self.options.rounds() {
            for index in 0..kinds.len() {
                let kind = kinds[(index + round) % kinds.len()];
                self.once(case, kind, worker, &measure).await?;
            }
        }
        Ok(())
    }

    /// Measures once. A noisy run is repeated, and the quieter one counts.
    pub(crate) async fn once(
        &mut self,
        case: Case,
        kind: Kind,
        worker: &Path,
        measure: impl AsyncFn(Kind, &Path, &Stand) -> anyhow::Result<Figures>,
    ) -> anyhow::Result<()> {
        self.wait_for_quiet().await;
        let mut figures = measure(kind, worker, self.stand).await?;
        if figures.others > NOISY && self.begun.elapsed() < self.options.budget() {
            self.wait_for_quiet().await;
            let again = measure(kind, worker, self.stand).await?;
            if again.others < figures.others {
                figures = again;
            }
        }
        let values: String = figures
            .values
            .iter()
            .map(|(name, value)| format!("{name} {value:.3}, "))
            .collect();
        let (minutes, others) = (self.minutes(), figures.others * 100.0);
        eprintln!(
            "{minutes:5.1} min  {} {}, {}: {values}others {others:.0} %",
            case.0,
            case.1,
            kind.name()
        );
        self.figures.entry((case, kind)).or_default().push(figures);
        Ok(())
    }

    async fn wait_for_quiet(&self) {
        let given_up_at = Instant::now() + self.options.patience();
        while machine::busy_share().await > NOISY && Instant::now() < given_up_at {}
    }

    pub(crate) fn cases(&self, workload: &str) -> Vec<usize> {
        let mut cases: Vec<usize> = self
            .figures
            .keys()
            .filter(|((name, _), _)| *name == workload)
            .map(|((_, case), _)| *case)
            .collect();
        cases.dedup();
        cases
    }

    fn runs(&self, case: Case, kind: Kind) -> &[Figures] {
        self.figures.get(&(case, kind)).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn has(&self, case: Case, kind: Kind) -> bool {
        !self.runs(case, kind).is_empty()
    }

    /// The median over the rounds.
    pub(crate) fn median(&self, case: Case, kind: Kind, name: &str) -> f64 {
        median(
            self.runs(case, kind)
                .iter()
                .filter_map(|run| run.values.get(name).copied()),
        )
    }

    pub(crate) fn others(&self, case: Case, kind: Kind) -> f64 {
        median(self.runs(case, kind).iter().map(|run| run.others))
    }

    /// The median of what one peer has by what another has in the same round.
    pub(crate) fn ratio(&self, name: &str, of: (Case, Kind), by: (Case, Kind)) -> f64 {
        let pairs = self.runs(of.0, of.1).iter().zip(self.runs(by.0, by.1));
        median(pairs.filter_map(|(of, by)| Some(of.values.get(name)? / by.values.get(name)?)))
    }

    /// How many runs were noisy, and how many there were.
    pub(crate) fn noise(&self) -> (usize, usize) {
        let all = self.figures.values().flatten();
        (all.clone().filter(|run| run.others > NOISY).count(), all.count())
    }
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

/// The value that this share of all lies at or below.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len().max(1)) - 1;
    values.get(index).copied().unwrap_or(f64::NAN)
}

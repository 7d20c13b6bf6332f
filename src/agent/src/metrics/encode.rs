//! Families of metrics by way of prometheus-client, whose registry is made for each answer: slices come and go, and so do
//! their labels.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::scrape::Scrape;
use super::{board, gpus, hooks, slices};

/// What all names begin with.
const PREFIX: &str = "sdg";

/// Names and values of a metric's labels.
pub type Labels = Vec<(&'static str, String)>;

/// A family's name, without the prefix and a counter's `_total`, and what it says.
#[derive(Clone, Copy, Debug)]
pub struct Family(pub &'static str, pub &'static str);

/// Times in buckets.
#[derive(Clone, Debug)]
pub struct Histogram {
    /// Upper bound in seconds and number of each bucket.
    pub buckets: Vec<(f64, u64)>,
    /// Sum in seconds.
    pub sum: f64,
}

/// Writes families, one after the other.
pub struct Writer<'a>(DescriptorEncoder<'a>);

impl Writer<'_> {
    /// Figures that go up and down.
    pub fn gauges<V: EncodeGaugeValue>(
        &mut self,
        Family(name, help): Family,
        values: impl IntoIterator<Item = (Labels, V)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// Figures that only go up.
    pub fn counters(
        &mut self,
        Family(name, help): Family,
        values: impl IntoIterator<Item = (Labels, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            let mut metric = family.encode_family(&labels)?;
            metric.encode_counter::<NoLabelSet, u64, u64>(&value, None)?;
        }
        Ok(())
    }

    /// A figure that only goes up and has no labels.
    pub fn counter(&mut self, Family(name, help): Family, value: u64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, u64, u64>(&value, None)
    }

    /// Histograms.
    pub fn histograms(
        &mut self,
        Family(name, help): Family,
        values: impl IntoIterator<Item = (Labels, Histogram)>,
    ) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, value) in values {
            let count = value.buckets.iter().map(|(_, count)| count).sum();
            let mut metric = family.encode_family(&labels)?;
            metric.encode_histogram::<NoLabelSet>(value.sum, count, &value.buckets, None)?;
        }
        Ok(())
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut writer = Writer(encoder);
        gpus::write(&self.snapshot, &mut writer)?;
        slices::write(&self.snapshot, &mut writer)?;
        hooks::write(&self.counters, &mut writer)?;
        board::write((&self.snapshot.inventory, &self.boards), &mut writer)
    }
}

/// Everything as OpenMetrics.
pub fn to_text(scrape: Scrape) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(scrape));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

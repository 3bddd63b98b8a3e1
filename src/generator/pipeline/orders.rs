//! Who is asked for a picture, and in which order.

use super::Pipeline;
use crate::failure::{ErrorClass, Failure};
use crate::generator::order::Order;
use crate::provider::ImageSpec;
use crate::work_package::{ImageOptions, ImageType, ImageWork};

/// What a package asks of providers.
pub(in crate::generator) fn spec(work: &ImageWork) -> ImageSpec {
    let is_icon = work.image_type == ImageType::Icon;
    ImageSpec {
        image_type: work.image_type,
        model: work.model.clone(),
        size: work.size.clone(),
        quality: work.quality.clone(),
        seed: work.seed,
        negative_prompt: work.negative_prompt.clone(),
        reference_count: work.references.len(),
        options: ImageOptions {
            // An icon is made from what comes, in whichever format is asked for.
            output_format: work.options.output_format.filter(|_| !is_icon),
            ..work.options
        },
    }
}

impl Pipeline {
    /// Chooses the providers and checks, at no cost, that they offer what is asked for: the one that is meant, then
    /// those that may help out. Never empty.
    pub(in crate::generator) fn orders(&self, work: &ImageWork) -> Result<Vec<Order>, Failure> {
        let providers = &self.settings.providers;
        let spec = spec(work);
        let meant = providers.select(work.provider.as_deref())?;
        let meant_name = meant.name();
        let refused = match providers.accept(&*meant, &spec) {
            Ok(spec) => Ok(Order {
                provider: meant,
                spec,
            }),
            // A wrong option is its producer's to mend; a provider that is not there is not.
            Err(refused) if refused.class == ErrorClass::InvalidRequest => return Err(refused.into()),
            Err(refused) => Err(refused),
        };
        let helpers = providers.fallbacks_for(meant_name).filter_map(|provider| {
            let spec = providers.accept_instead(&*provider, &spec)?;
            Some(Order { provider, spec })
        });
        match refused {
            Ok(order) => Ok(std::iter::once(order).chain(helpers).collect()),
            Err(refused) => {
                let orders: Vec<Order> = helpers.collect();
                if orders.is_empty() {
                    return Err(refused.into());
                }
                Ok(orders)
            }
        }
    }

    /// Names of the providers that can draw this, in the order in which they are asked. Empty: it will be refused.
    #[must_use]
    pub fn providers_for(&self, work: &ImageWork) -> Vec<&'static str> {
        let orders = self.orders(work).unwrap_or_default();
        orders.iter().map(|order| order.provider.name()).collect()
    }
}

#[cfg(test)]
mod tests;

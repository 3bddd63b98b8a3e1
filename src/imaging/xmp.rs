//! The XMP packet that says who made a picture. Never holds a prompt.

use std::borrow::Cow;

use chrono::SecondsFormat;

use super::{DigitalSource, Provenance};

/// Longer names are cut: a JPEG segment has room for 65 533 bytes, and no model id is that long.
const MAX_NAME_CHARACTERS: usize = 200;

/// The packet, as UTF-8.
///
/// Source: IPTC Photo Metadata Standard 2025.1 (`DigitalSourceType`, `AISystemUsed`; "Job Identifier" is
/// `photoshop:TransmissionReference`); XMP Specification part 1, §7.3.2 "XMP packet wrapper".
pub(super) fn packet(provenance: &Provenance<'_>) -> String {
    let (source_type, is_model) = match provenance.source {
        DigitalSource::TrainedModel => ("trainedAlgorithmicMedia", true),
        DigitalSource::Algorithm => ("algorithmicMedia", false),
    };
    let maker = format!("{} {}", name(provenance.provider), name(provenance.model));
    let maker = escaped(maker.trim_end());
    let created_at = provenance.created_at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let job_id = provenance.job_id;
    let ai_system = if is_model {
        format!("\n<Iptc4xmpExt:AISystemUsed>{maker}</Iptc4xmpExt:AISystemUsed>")
    } else {
        String::new()
    };
    format!(
        "<?xpacket begin=\"\u{feff}\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?>\n\
         <x:xmpmeta xmlns:x=\"adobe:ns:meta/\">\n\
         <rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\">\n\
         <rdf:Description rdf:about=\"\" \
         xmlns:Iptc4xmpExt=\"http://iptc.org/std/Iptc4xmpExt/2008-02-29/\" \
         xmlns:photoshop=\"http://ns.adobe.com/photoshop/1.0/\" \
         xmlns:xmp=\"http://ns.adobe.com/xap/1.0/\">\n\
         <Iptc4xmpExt:DigitalSourceType>http://cv.iptc.org/newscodes/digitalsourcetype/{source_type}\
         </Iptc4xmpExt:DigitalSourceType>{ai_system}\n\
         <xmp:CreatorTool>{maker}</xmp:CreatorTool>\n\
         <xmp:CreateDate>{created_at}</xmp:CreateDate>\n\
         <photoshop:TransmissionReference>{job_id}</photoshop:TransmissionReference>\n\
         </rdf:Description>\n\
         </rdf:RDF>\n\
         </x:xmpmeta>\n\
         <?xpacket end=\"w\"?>"
    )
}

fn name(name: &str) -> Cow<'_, str> {
    match name.char_indices().nth(MAX_NAME_CHARACTERS) {
        Some((end, _)) => Cow::Owned(format!("{}…", &name[..end])),
        None => Cow::Borrowed(name),
    }
}

/// Text as it may stand between tags: characters that XML 1.0 does not allow at all become U+FFFD.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '\t' | '\n' | '\r' => escaped.push(' '),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::samples::provenance;
    use super::*;

    #[test]
    fn a_model_and_an_algorithm_are_told_apart() {
        let model = packet(&provenance());
        assert!(model.contains(">http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia<"));
        assert!(model.contains("AISystemUsed>openai gpt-image-1<"));
        let drawn = packet(&Provenance {
            source: DigitalSource::Algorithm,
            ..provenance()
        });
        assert!(drawn.contains(">http://cv.iptc.org/newscodes/digitalsourcetype/algorithmicMedia<"));
        assert!(!drawn.contains("AISystemUsed"));
    }

    #[test]
    fn names_cannot_break_out_of_the_packet_or_outgrow_it() {
        let model = format!("</xmp:CreatorTool>&\0{}", "x".repeat(100_000));
        let packet = packet(&Provenance {
            model: &model,
            ..provenance()
        });
        assert!(packet.contains(">openai &lt;/xmp:CreatorTool&gt;&amp;\u{fffd}xxx"));
        assert!(packet.len() < 4000);
    }
}

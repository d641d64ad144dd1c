//! What the DASH linter looks for, by clause of ISO/IEC 23009-1:2022.

use crate::finding::{Rule, Severity, rules};

rules! { "ISO/IEC 23009-1 ";
    XML = "mpd-xml", "5.2", Error, "the MPD is well-formed XML with an MPD element of its namespace as root";
    PROFILES = "mpd-profiles", "5.3.1.2", Error, "MPD@profiles is there";
    MIN_BUFFER = "mpd-min-buffer-time", "5.3.1.2", Error, "MPD@minBufferTime is a duration";
    AVAILABILITY_START = "mpd-availability-start", "5.3.1.2", Error, "a dynamic MPD has @availabilityStartTime";
    PUBLISH_TIME = "mpd-publish-time", "5.3.1.2", Error, "a dynamic MPD has @publishTime";
    UPDATE_PERIOD = "mpd-update-period", "5.3.1.2", Error, "a dynamic MPD has @minimumUpdatePeriod, a static one has not";
    STATIC_DURATION = "mpd-static-duration", "5.3.1.2", Error, "a static MPD has @mediaPresentationDuration, or its last Period @duration";
    PRESENTATION_DELAY = "mpd-presentation-delay", "5.3.1.2 (house rule)", Warning, "a dynamic MPD has @suggestedPresentationDelay: players differ without it";
    MAX_SEGMENT = "mpd-max-segment-duration", "5.3.1.2", Error, "no segment is longer than @maxSegmentDuration";
    RELATIVE_URI = "mpd-uri-relative", "5.6.4 (house rule)", Error, "URLs are relative, so that a presentation can move";
    UTC_TIMING = "utc-timing", "5.8.4.11 (house rule)", Error, "a dynamic MPD has UTCTiming";
    UTC_TIMING_LOCAL = "utc-timing-local", "5.8.4.11 (house rule)", Error, "UTCTiming asks this server, by a scheme that players know";
    LATENCY = "latency", "Annex K", Error, "Latency@min <= @target <= @max";
    PERIOD_ID = "period-id", "5.3.2.2", Error, "a Period of a dynamic MPD has an @id, and ids differ";
    PERIOD_START = "period-start", "5.3.2.1", Error, "Periods have a @start, and start one after the other";
    PERIOD_OVERLAP = "period-overlap", "5.3.2.1", Error, "a Period ends before the next starts";
    PERIOD_EMPTY = "period-empty", "5.3.2.2", Error, "a Period has an AdaptationSet, and that a Representation";
    SET_ID = "adaptation-set-id", "5.3.3.2", Error, "AdaptationSet@id differ within a Period";
    REPRESENTATION_ID = "representation-id", "5.3.5.2", Error, "Representation@id are there and differ within a Period";
    BANDWIDTH = "representation-bandwidth", "5.3.5.2", Error, "Representation@bandwidth is a positive number";
    MIME_TYPE = "mime-type", "5.3.7.2", Error, "@mimeType is there";
    CODECS = "mpd-codecs", "5.3.7.2", Error, "@codecs is there";
    SIZE = "picture-size", "5.3.7.2", Error, "pictures have @width and @height";
    FRAME_RATE = "mpd-frame-rate", "5.3.7.2", Warning, "pictures have @frameRate";
    TEMPLATE = "segment-template", "5.3.9.4.2", Error, "SegmentTemplate has @initialization, and @media with $Number$ or $Time$";
    TIMESCALE = "timescale", "5.3.9.2.2", Error, "@timescale is a positive number";
    TIMELINE = "segment-timeline", "5.3.9.6.2", Error, "a SegmentTimeline has S elements with a positive @d, and numbers where numbers are due";
    TIMELINE_OVERLAP = "timeline-overlap", "5.3.9.6.1", Error, "S@t do not go back and segments do not overlap";
    TIMELINE_GAP = "timeline-gap", "5.3.9.6.1", Warning, "segments follow one another without a gap";
    TIME_OFFSET = "presentation-time-offset", "5.3.9.2.2", Error, "a Period's first segment reaches into it: its end is behind @presentationTimeOffset";
    BEYOND_PERIOD = "segment-beyond-period", "5.3.9.6.1", Error, "no segment starts behind the end of its Period";
    TEXT_FILE = "text-file", "5.6.5", Error, "a text track in a file of its own has a BaseURL";
    THUMBNAILS = "thumbnail-tiles", "5.3.9.5.3, DASH-IF IOP 6.2.6", Error, "sheets of thumbnails have @media with $Number$, a positive @duration, and say their columns and rows";
    AVAILABILITY_OFFSET = "availability-time-offset", "5.3.9.5.3", Error, "@availabilityTimeOffset is a number below the segment duration";
    AVAILABILITY_COMPLETE = "availability-time-complete", "5.3.9.5.3", Error, "an offset comes with @availabilityTimeComplete=\"false\"";
    START_CHANGED = "availability-start-changed", "5.4", Error, "@availabilityStartTime stays while the presentation is dynamic";
    PUBLISH_BACK = "publish-time-back", "5.4", Error, "@publishTime does not go back";
    PERIOD_CHANGED = "period-changed", "5.4", Error, "a Period keeps its @start";
    SEGMENT_CHANGED = "segment-changed", "5.4", Error, "a segment keeps its number and time, and, unless it is the last, its duration";
    INIT_CHANGED = "initialization-changed", "5.4", Error, "a Representation keeps its initialization within a Period";
    STATIC_FINAL = "static-final", "5.4", Error, "a presentation that became static stays static";
}

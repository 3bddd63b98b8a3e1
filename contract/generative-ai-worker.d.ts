// Made by `generative-ai-worker schema typescript`.

/** One JSON object, UTF-8, pushed with LPUSH. Unknown fields are kept and ignored. */
export interface WorkPackage {
  /** What is behind what is drawn; for models that offer it. */
  background?: "transparent" | "opaque" | "auto" | "" | null;
  callbackUrl?: null | "";
  collectionId?: number | string;
  collectionType?: string;
  /** How much thought the service spends before it draws; for models that offer it. */
  complexity?: "low" | "medium" | "high" | "auto" | "" | null;
  /** Fails as expired when it has not been started by this time. */
  deadline?: string | number | null;
  generationContext?: string | null;
  /** Fixes provider, model, size and quality, each in its contexts. */
  imageGenerationProfile?: "aoiIcon" | "regularAiImage" | "" | null;
  /** Row of images: which picture is to be deleted. */
  imageId?: number | string | null;
  imageModel?: string | null;
  /** Default: IMAGE_PROVIDER of the worker. */
  imageProvider?: string | null;
  imageQuality?: string | null;
  imageSize?: string | null;
  /** "icon" for an icon of at most 400 x 400 px, anything else for the picture as drawn. */
  imageType?: string | null;
  imageUrl?: string | null;
  /** Row of ac_background_jobs. */
  jobId: number | string;
  /** How strict the service is; for models that offer it. */
  moderation?: "low" | "auto" | "" | null;
  negativePrompt?: string | null;
  /** Not started before this time. */
  notBefore?: string | number | null;
  /** Of the file that is delivered; jpeg has no transparent background. */
  outputFormat?: "png" | "jpeg" | "webp" | "" | null;
  prompt?: string;
  referenceImages?: (string)[] | null | "";
  replyTo?: string | null;
  seed?: number | null | "";
  /** W3C trace context; ignored when it is not one. */
  traceparent?: unknown;
  type: "collection-image" | "delete-image";
  /** Owner of the image row. */
  userId?: number | string | null;
  /** Kept and ignored. */
  [field: string]: unknown;
}

/** An attempt has begun. */
export interface StartedEvent {
  at: string;
  /** Counted from 1. */
  attempt: number;
  /** Row of ac_background_jobs. */
  jobId: number;
  progress: number;
  status: "started";
}

/** The job has come further. */
export interface ProgressEvent {
  at: string;
  /** Row of ac_background_jobs. */
  jobId: number;
  progress: number;
  status: "progress";
}

/** The attempt has failed, and another follows by itself. */
export interface RetryingEvent {
  at: string;
  /** Counted from 1. */
  attempt: number;
  /** One sentence for the person who waits. */
  error: string;
  errorClass: "invalid_package" | "expired" | "moderation" | "invalid_request" | "auth" | "quota" | "model_gone" | "rate_limited" | "overloaded" | "network" | "ambiguous" | "bad_output" | "bad_image" | "storage" | "timed_out" | "unknown_outcome" | "over_budget" | "cancelled" | "poison" | "internal";
  /** Row of ac_background_jobs. */
  jobId: number;
  status: "retrying";
}

/** The picture is there, or is deleted where the package has asked for that; the end of the job. */
export interface CompletedEvent {
  at: string;
  /** Row of images; always there of a picture that was made. */
  imageId?: number;
  /** The address of the picture; always there of one that was made. */
  imageUrl?: string;
  /** Row of ac_background_jobs. */
  jobId: number;
  progress: number;
  status: "completed";
}

/** The job has failed for good; its end. */
export interface FailedEvent {
  at: string;
  /** One sentence for the person who waits. */
  error: string;
  errorClass: "invalid_package" | "expired" | "moderation" | "invalid_request" | "auth" | "quota" | "model_gone" | "rate_limited" | "overloaded" | "network" | "ambiguous" | "bad_output" | "bad_image" | "storage" | "timed_out" | "unknown_outcome" | "over_budget" | "cancelled" | "poison" | "internal";
  /** Row of ac_background_jobs; null where no job can be read from the package. */
  jobId: number | null;
  status: "failed";
}

/** Somebody has ended the job; its end. */
export interface CancelledEvent {
  at: string;
  /** One sentence for the person who waits. */
  error: string;
  errorClass: "invalid_package" | "expired" | "moderation" | "invalid_request" | "auth" | "quota" | "model_gone" | "rate_limited" | "overloaded" | "network" | "ambiguous" | "bad_output" | "bad_image" | "storage" | "timed_out" | "unknown_outcome" | "over_budget" | "cancelled" | "poison" | "internal";
  /** Row of ac_background_jobs. */
  jobId: number;
  status: "cancelled";
}

/** One JSON object per change of a job. Later versions may add fields. */
export type JobEvent = StartedEvent | ProgressEvent | RetryingEvent | CompletedEvent | FailedEvent | CancelledEvent;

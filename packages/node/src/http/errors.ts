/**
 * Errors as HTTP clients see them: JSON with a tag, a sentence, and the evidence as fields.
 *
 *   { "error": "BlockNotFound", "message": "...", "height": 9, "latest": 7 }
 *
 * Terms: a *declared* error is part of an endpoint's description; the others are answered here, for every endpoint alike.
 *
 * Invariant: every response from 400 on has this shape. What a client cannot act on (a defect) tells it nothing inside.
 */
import { Cause, Effect, Schema, SchemaIssue } from "effect"
import { HttpServerError, HttpServerResponse } from "effect/http"
import { HttpApiError } from "effect/http-api"
import { HTTP_ISSUES_MAX } from "../limits.ts"

/**
 * Declares an error of an endpoint: `error: apiError("BlockNotFound", 404, { height: Schema.Int })`.
 *
 * A handler answers with it by `Effect.fail({ error: "BlockNotFound", message: "...", height: 9 })`.
 */
export const apiError = <const Tag extends string, const Fields extends Schema.Struct.Fields>(
  tag: Tag,
  status: number,
  fields: Fields,
) =>
  Schema.Struct({ error: Schema.Literal(tag), message: Schema.String, ...fields }).annotate({
    identifier: tag,
    httpApiStatus: status,
  })

interface Answer {
  readonly status: number
  readonly error: string
  readonly message: string
  readonly evidence?: Record<string, unknown>
  readonly headers?: Record<string, string>
}

const respond = ({ status, error, message, evidence, headers = {} }: Answer): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.jsonUnsafe({ error, message, ...evidence }, { status, headers })

/** Tags of what a request meets when its node goes down under it: the storage closed or the marshal stopped. */
const GOING_DOWN: ReadonlySet<unknown> = new Set(["StorageDead", "MarshalStopped", "ExecutorStopped"])

/** The answer of a server that has no node to ask at the moment. */
export const unavailable = (message: string): HttpServerResponse.HttpServerResponse =>
  respond({ status: 503, error: "Unavailable", message })

const formatIssues = SchemaIssue.makeFormatterStandardSchemaV1()

const malformed = ({ kind, cause }: HttpApiError.HttpApiSchemaError): Answer => {
  const issues = formatIssues(cause.issue)
    .issues.slice(0, HTTP_ISSUES_MAX)
    .map(({ path = [], message }) => ({
      path: path.map((segment) => String(typeof segment === "object" ? segment.key : segment)).join("."),
      message,
    }))
  const where = { Params: "path", Query: "query", Headers: "headers", Payload: "body" } as const
  const part = kind in where ? where[kind as keyof typeof where] : kind
  return { status: 400, error: "Malformed", message: `the ${part} of the request is malformed`, evidence: { issues } }
}

/** Methods that a path has. */
type MethodsAt = (url: string) => ReadonlyArray<string>

const notAllowed = (method: string, allowed: ReadonlyArray<string>): Answer => ({
  status: 405,
  error: "MethodNotAllowed",
  message: `${method} is not for this endpoint; see /docs`,
  evidence: { allowed },
  headers: { allow: allowed.join(", ") },
})

const TOO_LARGE: Answer = { status: 413, error: "TooLarge", message: "the body is larger than this server reads" }

const unreadable = ({ reason }: HttpServerError.HttpServerError, methodsAt: MethodsAt): Answer => {
  switch (reason._tag) {
    case "RouteNotFound": {
      const allowed = methodsAt(reason.request.url)
      if (allowed.length > 0) return notAllowed(reason.request.method, allowed)
      return { status: 404, error: "NoSuchEndpoint", message: "there is no such endpoint; see /docs" }
    }
    case "RequestParseError":
      return isTooLarge(reason.cause)
        ? TOO_LARGE
        : { status: 400, error: "Malformed", message: "the body cannot be read", evidence: { issues: [] } }
    default:
      return INTERNAL
  }
}

const isTooLarge = (cause: unknown): boolean =>
  cause instanceof Error && "_tag" in cause && cause._tag === "MaxBytesError"

const INTERNAL: Answer = { status: 500, error: "Internal", message: "the server failed; its log says why" }

const answerTo = (error: unknown, methodsAt: MethodsAt): Answer => {
  if (error instanceof Error && "_tag" in error && GOING_DOWN.has(error._tag)) {
    return { status: 503, error: "Unavailable", message: "the node is going down; ask again" }
  }
  if (HttpApiError.HttpApiSchemaError.is(error)) {
    return error.kind === "Body" || error.kind === "ResponseHeaders" ? INTERNAL : malformed(error)
  }
  return HttpServerError.isHttpServerError(error) ? unreadable(error, methodsAt) : INTERNAL
}

/** Gives every failure of an application the shape above; logs what is the server's own fault. */
export const withJsonErrors = <E, R>(
  app: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>,
  methodsAt: MethodsAt,
): Effect.Effect<HttpServerResponse.HttpServerResponse, never, R> =>
  app.pipe(
    Effect.map((response) =>
      response.status === 415
        ? respond({ status: 415, error: "UnsupportedMediaType", message: "send the body as application/json" })
        : response,
    ),
    Effect.catchCause((cause) => {
      if (Cause.hasInterruptsOnly(cause)) return Effect.interrupt
      const answer = answerTo(Cause.squash(cause), methodsAt)
      const logged = answer.status === 500 ? Effect.logError("request failed", cause) : Effect.void
      return Effect.as(logged, respond(answer))
    }),
  )

/**
 * The page as a node serves it: `/` is the document, `/page.js` all of its code.
 *
 *   main.ts, steps.ts, light.ts, @coppice/verify --rolldown--> one module, once per process, at the first request
 *
 * Invariant: the browser loads nothing from anywhere else, and runs no code but the bundle.
 */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { Effect, Layer } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { rolldown } from "rolldown"

const at = (name: string): string => join(import.meta.dirname, name)

const POLICY =
  "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const headers = { "content-security-policy": POLICY, "x-content-type-options": "nosniff", "cache-control": "no-cache" }

/** The page's code as one minified module. */
export const bundlePage = async (): Promise<string> => {
  const bundle = await rolldown({ input: at("main.ts"), platform: "browser", logLevel: "silent" })
  try {
    const { output } = await bundle.generate({ minify: true, format: "esm" })
    return output[0].code
  } finally {
    await bundle.close()
  }
}

let bundled: Promise<string> | undefined

const code = Effect.promise(() => {
  bundled ??= bundlePage()
  return bundled
})

/** Routes of the page. */
export const pageRoutes: Layer.Layer<never, never, HttpRouter.HttpRouter> = Layer.mergeAll(
  HttpRouter.add(
    "GET",
    "/",
    Effect.sync(() =>
      HttpServerResponse.text(readFileSync(at("index.html"), "utf8"), {
        contentType: "text/html; charset=utf-8",
        headers,
      }),
    ),
  ),
  HttpRouter.add(
    "GET",
    "/page.js",
    Effect.map(code, (text) =>
      HttpServerResponse.text(text, { contentType: "text/javascript; charset=utf-8", headers }),
    ),
  ),
)

/**
 * Which methods a path has: for the answer to a request whose path is right and whose method is not.
 *
 * Invariant: every route that is registered counts, those of an application and of pages too.
 */
import { HttpRouter } from "effect/http"

/** A router, and the methods of the routes that a path matches, sorted; none when there is no such path. */
export interface KnownRoutes {
  readonly router: HttpRouter.HttpRouter
  readonly methodsAt: (url: string) => ReadonlyArray<string>
}

const patternOf = (path: string): RegExp => {
  const segments = path.split("/").map((segment) => {
    if (segment === "*") return ".*"
    return segment.startsWith(":") ? "[^/]+" : segment.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")
  })
  return new RegExp(`^${segments.join("/")}$`)
}

/** Watches what is registered with a router. */
export const knowRoutes = (inner: HttpRouter.HttpRouter): KnownRoutes => {
  const routes: Array<{ readonly method: string; readonly pattern: RegExp }> = []
  const know = (method: string, path: string) => void routes.push({ method, pattern: patternOf(path) })
  const router = HttpRouter.HttpRouter.of({
    ...inner,
    addAll: (added) => {
      for (const { method, path } of added) know(method, path)
      return inner.addAll(added)
    },
    add: (method, path, handler, options) => {
      know(method, path)
      return inner.add(method, path, handler, options)
    },
  })
  const methodsAt = (url: string) => {
    const path = url.split("?", 1)[0]!
    const methods = routes.filter(({ pattern }) => pattern.test(path)).map(({ method }) => method)
    return [...new Set(methods.includes("GET") ? [...methods, "HEAD"] : methods)].sort()
  }
  return { router, methodsAt }
}

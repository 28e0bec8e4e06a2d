/**
 * The other side of `inChild`: waits for its input, calls one export of one module, answers and exits.
 *
 *   parent --{ input }--> child --{ output } or { error }--> parent
 */
import type { Answer } from "./harness.ts"

const [module = "", name = ""] = process.argv.slice(2)

const answer = async (input: unknown): Promise<Answer> => {
  try {
    const exported = ((await import(module)) as Record<string, unknown>)[name]
    if (typeof exported !== "function") throw new TypeError(`${module} exports no function ${name}`)
    return { output: await exported(input) }
  } catch (error) {
    return { error: error instanceof Error ? (error.stack ?? error.message) : String(error) }
  }
}

process.once("disconnect", () => process.exit(1))
process.once("message", async (message: { readonly input: unknown }) => {
  const given = await answer(message.input)
  process.send?.(given, () => process.exit(0))
})

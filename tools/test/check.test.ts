/**
 * Goal: whatever goes wrong, `npm test` and `.ci/run` end with `N passed, N failed` and an exit status that agrees.
 * Method: the real scripts in an empty folder, with commands on PATH that only print, report and exit as told.
 */
import { spawnSync } from "node:child_process"
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, dirname, join } from "node:path"
import { afterEach, beforeEach, describe, expect, test } from "vitest"

let root: string
let bin: string

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "coppice-check-"))
  bin = join(root, "node_modules", ".bin")
  mkdirSync(bin, { recursive: true })
})

afterEach(() => rmSync(root, { recursive: true, force: true }))

const script = (path: string): string => {
  mkdirSync(dirname(join(root, path)), { recursive: true })
  copyFileSync(new URL(`../../${path}`, import.meta.url), join(root, path))
  return join(root, path)
}

const fake = (name: string, body: string, interpreter = "/bin/sh"): void => {
  writeFileSync(join(bin, name), `#!${interpreter}\n${body}\n`)
  chmodSync(join(bin, name), 0o755)
}

const ended = (command: string, args: ReadonlyArray<string>) => {
  const env = { ...process.env, PATH: bin + delimiter + (process.env["PATH"] ?? "") }
  const { status, stdout } = spawnSync(command, args, { env, encoding: "utf8", input: "typed\n" })
  return { status, last: stdout.trimEnd().split("\n").at(-1) }
}

describe("npm test", () => {
  const check = (lint: number, types: number, vitest: string) => {
    fake("pnpm", `[ "$2" = lint ] && exit ${lint}; exit ${types}`)
    fake("vitest", vitest, process.execPath)
    return ended(process.execPath, [script("tools/check.ts")])
  }
  const counts = (passed: number, failed: number): string =>
    `process.send({ passed: ${passed}, failed: ${failed}, skipped: 0 }, () => { console.log("hint"); process.exit(${failed ? 1 : 0}) })`

  test("counts the tests when all is well", () => {
    expect(check(0, 0, counts(12, 0))).toEqual({ status: 0, last: "12 passed, 0 failed" })
  })

  test("fails with a test, and with lint or types though every test passes", () => {
    expect(check(0, 0, counts(11, 1))).toEqual({ status: 1, last: "11 passed, 1 failed" })
    expect(check(1, 0, counts(12, 0))).toEqual({ status: 1, last: "12 passed, 1 failed" })
    expect(check(0, 2, counts(12, 0))).toEqual({ status: 1, last: "12 passed, 1 failed" })
    expect(check(1, 2, counts(11, 1))).toEqual({ status: 1, last: "11 passed, 3 failed" })
  })

  test("fails when the run dies without a result, or ends badly after a good one", () => {
    expect(check(0, 0, "process.abort()")).toEqual({ status: 1, last: "0 passed, 1 failed" })
    expect(check(0, 0, counts(12, 0).replace("exit(0)", "exit(1)"))).toEqual({ status: 1, last: "12 passed, 1 failed" })
  })
})

describe(".ci/run", () => {
  const ci = (npm: string) => {
    fake("npm", npm)
    return ended("bash", [script(".ci/run")])
  }

  test("passes on the last line and the status of npm test", () => {
    expect(ci('[ "$CI $1" = "true test" ] && echo "12 passed, 0 failed"')).toEqual({
      status: 0,
      last: "12 passed, 0 failed",
    })
    expect(ci('echo "11 passed, 1 failed"; exit 1')).toEqual({ status: 1, last: "11 passed, 1 failed" })
  })

  test("ends with the line though npm says more after it", () => {
    expect(ci('echo "11 passed, 1 failed"; echo npm error; exit 1')).toEqual({ status: 1, last: "11 passed, 1 failed" })
  })

  test("fails when there is no line, or a good one and a bad status", () => {
    expect(ci("exit 3")).toEqual({ status: 3, last: "0 passed, 1 failed" })
    expect(ci("exit 0")).toEqual({ status: 1, last: "0 passed, 1 failed" })
    expect(ci('echo "12 passed, 0 failed"; exit 1')).toEqual({ status: 1, last: "12 passed, 1 failed" })
  })

  test("gives npm no input to wait for", () => {
    expect(ci('if read line; then exit 1; fi; echo "1 passed, 0 failed"').status).toBe(0)
  })
})

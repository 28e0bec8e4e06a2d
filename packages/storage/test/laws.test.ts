/**
 * Goal: all three implementations keep every law of the port that they can be asked to show.
 * Method: the suite of `@coppice/laws` on memory and on memory with faults, whose events are turns, then virtual delays under
 * interleavings of the simulated scheduler; and on LMDB in temporary directories, with a map that is large enough and one that must grow.
 * A full disk under LMDB has a process of its own (lmdb-full-disk.test.ts).
 */
import { chanceOf } from "@coppice/laws"
import { storageLaws } from "@coppice/laws/vitest"
import { simulate } from "@coppice/simulate"
import { Exit } from "effect"
import { FAULTS } from "../src/index.ts"
import { lmdbWorld, memorySubject } from "./support/worlds.ts"

storageLaws("memory", memorySubject([]))

storageLaws("faulty", memorySubject(FAULTS))

const delayed = memorySubject(FAULTS, (seed) => {
  const chance = chanceOf(seed + 1000)
  return { delayMs: () => Math.floor(chance() * 5) }
})

for (const seed of [1, 2, 3]) {
  storageLaws(`faulty under the simulated scheduler, seed ${seed}`, { ...delayed, seeds: 20 }, async (check) => {
    const { exit } = simulate(seed, check)
    if (Exit.isFailure(exit)) throw new Error(`seed ${seed}: ${exit.cause}`)
  })
}

storageLaws("LMDB", { make: () => lmdbWorld(), powers: [], seeds: 4 })

storageLaws("LMDB with a map that must grow", { make: () => lmdbWorld({ mapBytes: 1 << 16 }), powers: [], seeds: 2 })

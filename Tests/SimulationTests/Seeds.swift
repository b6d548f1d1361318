import Foundation

/// Which seeds this run tries. `SIM_SEED=n` replays one; `SIM_SEEDS=count` tries 1...count.
enum Seeds {
    static func thisRun(default count: UInt64) -> ClosedRange<UInt64> {
        let environment = ProcessInfo.processInfo.environment
        if let one = environment["SIM_SEED"].flatMap(UInt64.init) { return one...one }
        let count = environment["SIM_SEEDS"].flatMap(UInt64.init) ?? count
        return 1...max(1, count)
    }
}

import OrchestryModel
import Scheduling
import Testing

/// Which endpoints a node's proxy has lost the way to. Times in seconds.
struct ReachabilityTests {
    private static let one = Endpoint(host: "10.0.0.1", port: 1)
    private static let two = Endpoint(host: "10.0.0.1", port: 2)
    private static let far = Endpoint(host: "10.0.0.2", port: 1)
    private static let hanging = Reachability.Traffic(requests: 0, errors: 0, inFlight: 1)
    private static let failing = Reachability.Traffic(requests: 2, errors: 2, inFlight: 0)
    private static let serving = Reachability.Traffic(requests: 9, errors: 1, inFlight: 3)

    private struct Bench {
        var machine = Reachability()
        init() { _ = machine.handle(.endpoints([one, two, far]), at: Instant(nanoseconds: 0)) }
        mutating func traffic(_ seen: [Endpoint: Reachability.Traffic], _ seconds: Double) -> [Reachability.Output] {
            machine.handle(.traffic(seen), at: Instant(nanoseconds: Int64(seconds * 1e9)))
        }
        mutating func attempted(_ endpoint: Endpoint, _ isAnswered: Bool, _ seconds: Double) -> [Reachability.Output] {
            machine.handle(
                .attempted(endpoint, isAnswered: isAnswered), at: Instant(nanoseconds: Int64(seconds * 1e9)))
        }
    }

    @Test func `two attempts without an answer lose it, and its neighbours are tried at once`() {
        var bench = Bench()
        #expect(bench.traffic([Self.one: Self.hanging], 1) == [.attempt(Self.one)])
        #expect(bench.traffic([Self.one: Self.hanging], 2).isEmpty, "one attempt at a time")
        #expect(bench.attempted(Self.one, false, 2) == [.attempt(Self.one)])
        #expect(bench.machine.lost.isEmpty)
        #expect(bench.attempted(Self.one, false, 3) == [.lost(Self.one), .attempt(Self.two)])
        #expect(bench.attempted(Self.two, false, 4) == [.attempt(Self.two)])
        #expect(bench.attempted(Self.two, false, 5) == [.lost(Self.two)])
        #expect(bench.machine.lost == [Self.one, Self.two])
    }

    @Test func `an instance that serves anything is not tried`() {
        var bench = Bench()
        #expect(bench.traffic([Self.one: Self.serving], 1).isEmpty)
        #expect(bench.traffic([Self.one: .init(requests: 0, errors: 0, inFlight: 0)], 2).isEmpty)
    }

    @Test func `one whose requests all fail is`() {
        var bench = Bench()
        #expect(bench.traffic([Self.one: Self.failing], 1) == [.attempt(Self.one)])
    }

    @Test func `one that answers is only slow: it is never left out, and tried less and less`() {
        var bench = Bench()
        var attempts: [Int] = []
        for second in 1...60 {
            for output in bench.traffic([Self.one: Self.hanging], Double(second)) {
                #expect(output == .attempt(Self.one))
                attempts.append(second)
                #expect(bench.attempted(Self.one, true, Double(second)).isEmpty)
            }
        }
        #expect(attempts == [1, 2, 4, 8, 16, 32, 48])
        #expect(bench.machine.lost.isEmpty)
        // Served again, then slow again: as at first.
        #expect(bench.traffic([Self.one: Self.serving], 61).isEmpty)
        #expect(bench.traffic([Self.one: Self.hanging], 62) == [.attempt(Self.one)])
    }

    @Test func `one failure between answers is no loss`() {
        var bench = Bench()
        _ = bench.traffic([Self.one: Self.hanging], 1)
        #expect(bench.attempted(Self.one, false, 2) == [.attempt(Self.one)])
        #expect(bench.attempted(Self.one, true, 2.1).isEmpty)
        #expect(bench.machine.lost.isEmpty)
    }

    @Test func `a lost one is tried each second until it answers`() {
        var bench = Bench()
        _ = bench.traffic([Self.far: Self.hanging], 1)
        _ = bench.attempted(Self.far, false, 2)
        #expect(bench.attempted(Self.far, false, 3) == [.lost(Self.far)])
        #expect(bench.traffic([:], 3.5).isEmpty)
        #expect(bench.traffic([:], 4) == [.attempt(Self.far)])
        #expect(bench.traffic([:], 5).isEmpty, "it is being tried")
        #expect(bench.attempted(Self.far, false, 5).isEmpty)
        #expect(bench.traffic([:], 6) == [.attempt(Self.far)])
        #expect(bench.attempted(Self.far, true, 6) == [.found(Self.far)])
        #expect(bench.machine.lost.isEmpty && bench.traffic([:], 9).isEmpty)
    }

    @Test func `what left the table is forgotten, answers to come included`() {
        var bench = Bench()
        _ = bench.traffic([Self.far: Self.hanging], 1)
        _ = bench.attempted(Self.far, false, 2)
        _ = bench.attempted(Self.far, false, 3)
        _ = bench.traffic([:], 4)
        #expect(bench.machine.handle(.endpoints([Self.one]), at: Instant(nanoseconds: 4)).isEmpty)
        #expect(bench.machine.lost.isEmpty)
        #expect(bench.attempted(Self.far, false, 5).isEmpty)
        #expect(bench.traffic([Self.far: Self.hanging], 6).isEmpty)
    }
}

import OrchestryModel
import RestFacade
import Testing

struct LogMergerTests {
    private let a = InstanceID(unchecked: "a")
    private let b = InstanceID(unchecked: "b")
    private let start = Instant(nanoseconds: 0)

    private func line(_ instance: InstanceID, _ milliseconds: Int64, _ text: String = "") -> Presentation.LogLine {
        Presentation.LogLine(
            timestampSeconds: Double(milliseconds) / 1_000, containerID: "c", instance: instance,
            node: NodeID(unchecked: "n"), message: text.isEmpty ? "\(instance)\(milliseconds)" : text)
    }

    private func merger() -> LogMerger {
        var merger = LogMerger(patience: .seconds(5), slackMilliseconds: 100)
        merger.join(a, at: start)
        merger.join(b, at: start)
        return merger
    }

    private func taken(_ merger: inout LogMerger, _ now: Instant) -> [String] { merger.take(at: now).map(\.message) }

    @Test func `a line waits until no instance can come with an earlier one`() {
        var merger = merger()
        merger.add([line(a, 1_000), line(a, 3_000)], of: a, until: 5_000, at: start)
        #expect(taken(&merger, start).isEmpty)
        merger.add([line(b, 2_000)], of: b, until: 2_500, at: start)
        // b has said everything up to 2,400.
        #expect(taken(&merger, start) == ["a1000", "b2000"])
        merger.add([], of: b, until: 4_000, at: start)
        #expect(taken(&merger, start) == ["a3000"])
    }

    @Test func `a silent instance holds the others up for a while only, and loses nothing`() {
        var merger = merger()
        merger.add([line(a, 1_000)], of: a, until: 2_000, at: start)
        #expect(taken(&merger, start + .seconds(4)).isEmpty)
        let late = start + .seconds(6)
        merger.add([], of: a, until: 8_000, at: late)
        #expect(taken(&merger, late) == ["a1000"])
        merger.add([line(b, 500)], of: b, until: 9_000, at: late)
        #expect(taken(&merger, late) == ["b500"])
    }

    @Test func `an instance's own lines stay in the order of writing, whatever the clock did`() {
        var merger = merger()
        merger.end(b)
        merger.add(
            [line(a, 2_000, "one"), line(a, 1_000, "two"), line(a, 2_500, "three")], of: a, until: 9_000, at: start)
        #expect(taken(&merger, start) == ["one", "two", "three"])
    }

    @Test func `what an ended instance wrote last is shown in its place`() {
        var merger = merger()
        merger.add([line(b, 1_500)], of: b, until: 1_500, at: start)
        merger.end(b)
        merger.add([line(a, 1_000), line(a, 2_000)], of: a, until: 5_000, at: start)
        #expect(taken(&merger, start) == ["a1000", "b1500", "a2000"])
        #expect(merger.waitingBytes(of: b) == 0)
    }

    @Test func `no line is left out or shown twice, in any order of coming`() {
        var random = SeededGenerator(state: 11)
        for _ in 0..<100 {
            var merger = LogMerger(patience: .seconds(5), slackMilliseconds: 0)
            let instances = (0..<4).map { InstanceID(unchecked: "i\($0)") }
            for instance in instances { merger.join(instance, at: start) }
            var next = Dictionary(uniqueKeysWithValues: instances.map { ($0, Int64(0)) })
            var (written, shown): ([Presentation.LogLine], [Presentation.LogLine]) = ([], [])
            for _ in 0..<80 {
                let instance = instances.randomElement(using: &random) ?? instances[0]
                var lines: [Presentation.LogLine] = []
                for _ in 0..<Int.random(in: 0...4, using: &random) {
                    next[instance, default: 0] += Int64.random(in: 1...50, using: &random)
                    lines.append(line(instance, next[instance] ?? 0))
                }
                written += lines
                merger.add(lines, of: instance, until: next[instance] ?? 0, at: start)
                shown += merger.take(at: start)
            }
            for instance in instances { merger.end(instance) }
            shown += merger.take(at: start)
            #expect(shown.map(\.timestampSeconds) == shown.map(\.timestampSeconds).sorted())
            #expect(shown.count == written.count)
            #expect(Set(shown) == Set(written))
        }
    }
}

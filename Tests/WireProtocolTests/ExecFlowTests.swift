import NIOCore
import OrchestryModel
import Testing
import WireProtocol

@Suite("An exec session between two nodes")
struct ExecFlowTests {
    private static let chunk = ByteBuffer(repeating: 0x61, count: ExecFrame.mostBytes)
    /// As many of these fit into the window.
    private static let chunksOfWindow = ExecFlow.window / (ExecFrame.mostBytes + ExecFrame.overhead)

    @Test("what is sent beyond the window waits for credit, and goes then, in order")
    func window() {
        var flow = ExecFlow(.running)
        for _ in 0..<Self.chunksOfWindow {
            #expect(flow.handle(.offered(.output(Self.chunk))) == [.transmit(.output(Self.chunk)), .transmitted])
        }
        #expect(flow.handle(.offered(.output(Self.chunk))).isEmpty)
        #expect(flow.isBlocked)
        #expect(flow.handle(.received(.credit(100))).isEmpty)
        #expect(flow.handle(.received(.credit(40_000))) == [.transmit(.output(Self.chunk)), .transmitted])
        #expect(!flow.isBlocked)
    }

    @Test("credit comes back by half windows of what was consumed")
    func credit() {
        var flow = ExecFlow(.asking)
        let half = ExecFlow.window / 2
        #expect(flow.handle(.received(.errors(Self.chunk))) == [.deliver(.errors(Self.chunk))])
        #expect(flow.handle(.consumed(half - 1)).isEmpty)
        #expect(flow.handle(.consumed(1)) == [.transmit(.credit(half))])
    }

    @Test("an end with the command's status: no window holds it up, and nothing follows it")
    func exit() {
        var runner = ExecFlow(.running)
        for _ in 0..<Self.chunksOfWindow { _ = runner.handle(.offered(.output(Self.chunk))) }
        #expect(
            runner.handle(.offered(.exited(status: 7))) == [
                .transmit(.exited(status: 7)), .transmitted, .over(.exited(status: 7)),
            ])
        #expect(runner.handle(.offered(.exited(status: 8))).isEmpty)
        var asker = ExecFlow(.asking)
        #expect(asker.handle(.received(.exited(status: 7))) == [.over(.exited(status: 7))])
        #expect(asker.handle(.received(.output(Self.chunk))).isEmpty)
        #expect(asker.outcome == .exited(status: 7))
    }

    @Test("each side can end it, and a lost peer does")
    func ends() {
        var flow = ExecFlow(.asking)
        #expect(
            flow.handle(.end(reason: "gone")) == [
                .transmit(.ended(reason: "gone")), .over(.endedHere(reason: "gone")),
            ])
        flow = ExecFlow(.running)
        #expect(flow.handle(.received(.ended(reason: "gone"))) == [.over(.endedThere(reason: "gone"))])
        flow = ExecFlow(.running)
        for _ in 0..<Self.chunksOfWindow { _ = flow.handle(.offered(.output(Self.chunk))) }
        _ = flow.handle(.offered(.output(Self.chunk)))
        // What waits for credit is given up with it.
        #expect(flow.handle(.lost(reason: "killed")) == [.over(.lost(reason: "killed"))])
        #expect(!flow.isBlocked)
    }

    struct Breach: CustomTestStringConvertible, Sendable {
        var testDescription: String
        var side: ExecFlow.Side
        var frames: [ExecFrame]
    }

    @Test(
        "whoever breaks a rule ends the session",
        arguments: [
            Breach(
                testDescription: "more than the window", side: .asking,
                frames: Array(repeating: .output(chunk), count: chunksOfWindow + 1)),
            Breach(
                testDescription: "many small frames", side: .running,
                frames: Array(
                    repeating: .resize(.init(columns: 1, rows: 1)), count: ExecFlow.window / ExecFrame.overhead + 1)),
            Breach(testDescription: "credit that was not used", side: .running, frames: [.credit(1)]),
            Breach(testDescription: "output from the asking side", side: .running, frames: [.output(chunk)]),
            Breach(testDescription: "input from the running side", side: .asking, frames: [.input(chunk)]),
            Breach(testDescription: "a status from the asking side", side: .running, frames: [.exited(status: 0)]),
            Breach(
                testDescription: "input after its end", side: .running, frames: [.endOfInput, .input(chunk)]),
        ])
    func breaches(_ breach: Breach) {
        var flow = ExecFlow(breach.side)
        for frame in breach.frames.dropLast() { #expect(flow.handle(.received(frame)) == [.deliver(frame)]) }
        let last = breach.frames.last.map { flow.handle(.received($0)) } ?? []
        #expect(last.count == 2)
        guard case .transmit(.ended) = last.first, case .over(.brokenRule) = last.last else {
            Issue.record("\(breach): \(last)")
            return
        }
    }

    @Test("random traffic between two sides: all bytes arrive in order, and neither holds more than a window")
    func bothSides() {
        for seed in UInt64(1)...50 {
            var random = SeededGenerator(seed: seed)
            var (asker, runner) = (ExecFlow(.asking), ExecFlow(.running))
            var (toAsker, toRunner): ([ExecFrame], [ExecFrame]) = ([], [])
            var (sent, got): ([ByteBuffer], [ByteBuffer]) = ([], [])
            var waiting: [ExecFrame] = []
            var mostHeld = 0
            func run(_ actions: [ExecFlow.Action], _ line: inout [ExecFrame]) {
                for case .transmit(let frame) in actions { line.append(frame) }
            }
            for _ in 0..<2_000 {
                switch Int.random(in: 0...3, using: &random) {
                case 0 where !runner.isBlocked && runner.outcome == nil:
                    let bytes = ByteBuffer(
                        repeating: UInt8(sent.count & 0xFF), count: Int.random(in: 1...32_768, using: &random))
                    sent.append(bytes)
                    run(runner.handle(.offered(.output(bytes))), &toAsker)
                case 1 where !toAsker.isEmpty:
                    for case .deliver(let frame) in asker.handle(.received(toAsker.removeFirst())) {
                        waiting.append(frame)
                        if case .output(let bytes) = frame { got.append(bytes) }
                    }
                case 2 where !waiting.isEmpty:
                    run(asker.handle(.consumed(waiting.removeFirst().cost)), &toRunner)
                case 3 where !toRunner.isEmpty:
                    run(runner.handle(.received(toRunner.removeFirst())), &toAsker)
                default: break
                }
                mostHeld = max(mostHeld, waiting.reduce(0) { $0 + $1.cost } + toAsker.reduce(0) { $0 + $1.cost })
            }
            #expect(asker.outcome == nil && runner.outcome == nil, "seed \(seed)")
            #expect(mostHeld <= ExecFlow.window, "seed \(seed)")
            #expect(got == Array(sent.prefix(got.count)), "seed \(seed)")
            #expect(got.count > 10, "seed \(seed)")
        }
    }
}

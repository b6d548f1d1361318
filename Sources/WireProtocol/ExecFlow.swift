import NIOCore

/// One side's view of an exec session: what it may send, what may arrive, and how it ends. Pure: no clock, no I/O.
///
/// Each side may have sent the other at most a window's worth that is not consumed yet, so neither has to keep more. What is
/// consumed is given back as credit, half a window at a time. Whoever breaks a rule ends the session, no more than that.
public struct ExecFlow: Sendable {
    public enum Side: Hashable, Sendable {
        /// The node the client is connected to.
        case asking
        /// The node of the instance.
        case running
    }

    /// How a session ended.
    public enum Outcome: Hashable, Sendable {
        /// With the command's own status.
        case exited(status: Int)
        /// Said by the other side.
        case endedThere(reason: String)
        /// Said by this side.
        case endedHere(reason: String)
        /// The other side did what it may not.
        case brokenRule(String)
        /// The other side can't be reached any more.
        case lost(reason: String)
    }

    public enum Event: Hashable, Sendable {
        /// This side wants to send a frame. One at a time: the next only after this one was transmitted.
        case offered(ExecFrame)
        /// This side is done with frames of so much cost.
        case consumed(Int)
        case received(ExecFrame)
        /// This side ends it.
        case end(reason: String)
        case lost(reason: String)
    }

    /// To be carried out in this order.
    public enum Action: Hashable, Sendable {
        case transmit(ExecFrame)
        /// To whoever consumes on this side: input, output and the like, never credit or an end.
        case deliver(ExecFrame)
        /// What was offered has been transmitted: the next may be offered.
        case transmitted
        /// The last action ever.
        case over(Outcome)
    }

    /// In `ExecFrame.cost`.
    public static let window = 256 << 10

    public let side: Side
    public private(set) var outcome: Outcome?
    private var offered: ExecFrame?
    /// How much may be sent.
    private var credit = Self.window
    /// How much the other side may send.
    private var allowance = Self.window
    /// Consumed, and not given back yet.
    private var owed = 0
    private var hasInputEnded = false

    public init(_ side: Side) { self.side = side }

    /// Whether a frame is waiting for credit.
    public var isBlocked: Bool { offered != nil }

    public mutating func handle(_ event: Event) -> [Action] {
        guard outcome == nil else { return [] }
        switch event {
        case .offered(let frame):
            precondition(offered == nil, "a second frame was offered: \(frame)")
            precondition(isFrom(side, frame), "\(frame) is not for the \(side) side to send")
            offered = frame
            return transmitOffered()
        case .consumed(let cost):
            owed += cost
            guard owed >= Self.window / 2 else { return [] }
            defer { owed = 0 }
            allowance += owed
            return [.transmit(.credit(owed))]
        case .received(let frame): return receive(frame)
        case .end(let reason): return [.transmit(.ended(reason: reason))] + end(.endedHere(reason: reason))
        case .lost(let reason): return end(.lost(reason: reason))
        }
    }

    private mutating func transmitOffered() -> [Action] {
        guard let frame = offered, frame.cost <= credit else { return [] }
        offered = nil
        credit -= frame.cost
        guard case .exited(let status) = frame else { return [.transmit(frame), .transmitted] }
        return [.transmit(frame), .transmitted] + end(.exited(status: status))
    }

    private mutating func receive(_ frame: ExecFrame) -> [Action] {
        switch frame {
        case .credit(let bytes):
            guard bytes > 0, bytes <= Self.window - credit else { return breach("more credit than was used") }
            credit += bytes
            return transmitOffered()
        case .ended(let reason): return end(.endedThere(reason: reason))
        case .exited, .input, .endOfInput, .resize, .output, .errors:
            guard isFrom(side == .asking ? .running : .asking, frame) else {
                return breach("a frame of the wrong direction")
            }
        }
        if case .exited(let status) = frame { return end(.exited(status: status)) }
        guard frame.cost <= allowance else { return breach("more than the window") }
        allowance -= frame.cost
        switch frame {
        case .input, .endOfInput:
            if hasInputEnded { return breach("input after its end") }
            hasInputEnded = frame == .endOfInput
        case .resize, .output, .errors, .exited, .credit, .ended: break
        }
        return [.deliver(frame)]
    }

    private mutating func breach(_ rule: String) -> [Action] {
        [.transmit(.ended(reason: "the protocol was broken: \(rule)"))] + end(.brokenRule(rule))
    }

    private mutating func end(_ outcome: Outcome) -> [Action] {
        self.outcome = outcome
        offered = nil
        return [.over(outcome)]
    }

    private func isFrom(_ side: Side, _ frame: ExecFrame) -> Bool {
        switch frame {
        case .input, .endOfInput, .resize: side == .asking
        case .output, .errors, .exited: side == .running
        case .credit, .ended: true
        }
    }
}

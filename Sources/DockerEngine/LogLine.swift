import OrchestryModel

/// A line a container wrote.
package struct LogLine: Hashable, Sendable {
    package enum Stream: String, Hashable, Sendable { case stdout, stderr }
    package var time: WallTime
    /// Of `time`'s millisecond, 0…999,999.
    package var nanoseconds: Int
    package var stream: Stream
    /// Without its line feed; at most `LogDecoder.maximumText` bytes, the rest of a longer line is dropped.
    package var text: String

    package init(time: WallTime, nanoseconds: Int = 0, stream: Stream, text: String) {
        self.time = time
        self.nanoseconds = nanoseconds
        self.stream = stream
        self.text = text
    }

    /// When it was written, to the nanosecond: the engine gives no two lines of a container the same.
    package struct Position: Hashable, Sendable {
        package var time: WallTime
        package var nanoseconds: Int
        package init(time: WallTime, nanoseconds: Int) {
            self.time = time
            self.nanoseconds = nanoseconds
        }
    }
    package var position: Position { Position(time: time, nanoseconds: nanoseconds) }
}

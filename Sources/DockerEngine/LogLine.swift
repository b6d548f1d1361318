import OrchestryModel

/// A line a container wrote.
package struct LogLine: Hashable, Sendable {
    package enum Stream: String, Hashable, Sendable { case stdout, stderr }
    package var time: WallTime
    package var stream: Stream
    /// Without its line feed; at most `LogDecoder.maximumText` bytes, the rest of a longer line is dropped.
    package var text: String

    package init(time: WallTime, stream: Stream, text: String) {
        self.time = time
        self.stream = stream
        self.text = text
    }
}

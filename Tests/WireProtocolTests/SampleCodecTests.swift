import NIOCore
import OrchestryModel
import Testing
import WireProtocol

@Suite struct SampleCodecTests {
    @Test func `samples follow each other without a separator`() throws {
        var maker = MessageMaker(seed: 3)
        let samples = (0..<50).map { _ in maker.sample() }
        var buffer = ByteBuffer()
        for sample in samples { SampleCodec.encode(sample, into: &buffer) }
        for sample in samples { #expect(try SampleCodec.decode(from: &buffer) == sample) }
        #expect(buffer.readableBytes == 0)
        #expect(throws: WireError.truncated) { try SampleCodec.decode(from: &buffer) }
    }

    @Test func `what the layout can't hold is cut, and can be read back`() throws {
        let sample = Sample(
            app: AppName(unchecked: "web"), node: NodeID(unchecked: "node-a"), second: -5, interval: .nan,
            requests: .max, statusClasses: [1, 2], requestSeconds: -.infinity, inFlight: 1,
            latency: LatencyHistogram(buckets: [.init(index: 3, count: .max)]),
            instances: [
                InstanceSample(instance: InstanceID(unchecked: "web-1-a"), cpuPercent: .nan, memoryPercent: .infinity)
            ])
        var buffer = ByteBuffer()
        SampleCodec.encode(sample, into: &buffer)
        let read = try SampleCodec.decode(from: &buffer)
        #expect(read.second == 0)
        #expect(read.interval == 0.001)
        #expect(read.requests == 1 << 32)
        #expect(read.statusClasses == [1, 2, 0, 0, 0])
        #expect(read.requestSeconds == 0)
        #expect(read.latency.count == 1 << 32)
        #expect(read.instances[0].cpuPercent == nil)
        #expect(read.instances[0].memoryPercent == 1e6)
    }

    @Test func `sums of the largest counters do not overflow`() throws {
        let full = LatencyHistogram(
            buckets: (0..<LatencyHistogram.bucketCount).map { .init(index: $0, count: 1 << 32) })
        var buffer = ByteBuffer()
        let sample = Sample(app: AppName(unchecked: "a"), node: NodeID(unchecked: "b"), second: 1, latency: full)
        SampleCodec.encode(sample, into: &buffer)
        var total = LatencyHistogram()
        let read = try SampleCodec.decode(from: &buffer)
        // An hour of seconds from a hundred nodes, merged.
        for _ in 0..<360 { total.merge(read.latency) }
        #expect(total.count == 360 * 1728 * (1 << 32))
        #expect(UInt64.max / read.latency.count > 360_000)
    }

    @Test func `a layout of a later release is refused, not misread`() {
        var buffer = ByteBuffer()
        SampleCodec.encode(Sample(app: AppName(unchecked: "a"), node: NodeID(unchecked: "b"), second: 1), into: &buffer)
        buffer.setInteger(UInt8(2), at: 0)
        #expect(throws: WireError.badValue(field: "sample.layout")) { try SampleCodec.decode(from: &buffer) }
    }
}

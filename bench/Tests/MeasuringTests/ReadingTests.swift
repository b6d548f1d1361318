import Measuring
import Testing

struct ReadingTests {
    private static let output = """
        Running 5s test @ http://127.0.0.1:18090/
          1 threads and 64 connections
          Thread Stats   Avg      Stdev     Max   +/- Stdev
            Latency     1.34ms  812.11us  21.90ms   91.02%
            Req/Sec    46.60k     2.10k   50.21k    72.00%
          Latency Distribution
             50%    1.24ms
             75%    1.55ms
             90%    1.98ms
             99%    3.10ms
          231985 requests in 5.01s, 38.05MB read
          Socket errors: connect 0, read 3, write 0, timeout 1
          Non-2xx or 3xx responses: 12
        Requests/sec:  46304.39
        Transfer/sec:      7.59MB
        """

    @Test func `wrk's output is read`() throws {
        let read = try #require(WrkOutput(Self.output))
        #expect(read.requests == 231_985 && read.requestsPerSecond == 46_304.39)
        #expect(read.p50 == 1.24 && read.p99 == 3.1 && read.failures == 16)
        #expect(read.p999 == nil && read.max == nil)
        let longer = try #require(WrkOutput(Self.output + "\ntail 5120 2001234\n"))
        #expect(longer.p999 == 5.12 && longer.max == 2_001.234 && longer.requests == read.requests)
    }

    @Test(arguments: [("812.00us", 0.812), ("2.01s", 2_010), ("1.10m", 66_000)])
    func `times come in several units`(text: String, milliseconds: Double) throws {
        let read = try #require(WrkOutput(Self.output.replacing("3.10ms", with: text)))
        #expect(abs((read.p99 ?? 0) - milliseconds) < 1e-9)
    }

    @Test func `without a result there is none`() {
        #expect(WrkOutput("unable to connect to 127.0.0.1:1 Connection refused") == nil)
    }

    @Test func `an instance is found in the demo's answer`() {
        let body = "{\"host\":\"h\",\"instance\":\"web-1-ab12\",\"version\":\"v1\"}\n"
        #expect(FirstAnswers.instance(in: Array(body.utf8)) == "web-1-ab12")
        #expect(FirstAnswers.instance(in: Array("worked\n".utf8)) == nil)
        #expect(FirstAnswers.instance(in: Array("{\"instance\":\"cut".utf8)) == nil)
    }

    @Test func `the first answer of each instance counts, through each source`() {
        var answers = FirstAnswers()
        answers.note("a", through: "one", at: 1)
        answers.note("a", through: "one", at: 2)
        answers.note("b", through: "one", at: 3)
        answers.note("a", through: "two", at: 5)
        #expect(answers.time(of: "a", through: "one") == 1 && answers.instances == ["a", "b"])
        #expect(answers.everywhere("a", sources: ["one", "two"]) == 5)
        #expect(answers.everywhere("b", sources: ["one", "two"]) == nil)
        #expect(answers.beginnings == [1, 3])
    }

    @Test func `a slope and its error are those of the textbook`() throws {
        // Anscombe's first set (The American Statistician 27, 1973): 0.5001, 3.0001, 0.1179.
        let x = [10.0, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5]
        let y = [8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68]
        let slope = try #require(Slope(zip(x, y).map { ($0, $1) }))
        #expect(abs(slope.perUnit - 0.5001) < 1e-4 && abs(slope.intercept - 3.0001) < 1e-4)
        #expect(abs(slope.standardError - 0.1179) < 1e-4)
        #expect(Slope([(1, 1), (2, 2)]) == nil && Slope([(1, 1), (1, 2), (1, 3)]) == nil)
    }

    @Test func `steps follow each other`() {
        let profile = RateProfile(steps: [(20, 10), (500, 2)])
        #expect(profile.count == 1_200 && profile.time(of: 200) == 10 && profile.duration == 12)
    }

    @Test func `a chart holds its lines and no markup of others`() {
        let chart = LineChart(
            "a < b", xLabel: "s", lines: [LineChart.Line("p99", [.init(x: 0, y: 1), .init(x: 10, y: 2)])])
        let text = LineChart.document([chart, chart])
        #expect(text.hasPrefix("<svg ") && text.hasSuffix("</svg>\n"))
        #expect(text.contains("a &lt; b") && !text.contains("a < b"))
        // The larger value is at the top, the smaller half way up; the ends are those of the frame.
        #expect(text.contains("points=\"70,117 570,28\""), "\(text)")
    }
}

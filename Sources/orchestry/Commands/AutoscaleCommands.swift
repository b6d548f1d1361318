import ArgumentParser
import OrchestryModel

/// Times as people write them on a command line.
enum ShortDuration {
    /// `90s`, `15m`, `24h`, `7d`; a number alone is seconds.
    static func seconds(_ text: String, option: String, _ range: ClosedRange<Int>) throws -> Int {
        let units: [Character: Int] = ["s": 1, "m": 60, "h": 3_600, "d": 86_400]
        let unit = text.last.flatMap { units[$0] }
        let digits = unit == nil ? Substring(text) : text.dropLast()
        guard let number = Int(digits), number >= 0,
            case let (seconds, overflow) = number.multipliedReportingOverflow(by: unit ?? 1),
            !overflow, range.contains(seconds)
        else {
            throw ValidationError(
                "\(option) must be a time such as 90s, 15m, 24h or 7d from \(range.lowerBound) s to "
                    + "\(range.upperBound) s, got '\(text)'")
        }
        return seconds
    }
}

struct Autoscale: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "autoscale",
        abstract: "Pause and resume the autoscaler of one app.",
        subcommands: [AutoscalePause.self, AutoscaleResume.self])
}

struct ScaleDirection: ParsableArguments {
    @Flag(name: .customLong("in"), help: "Only shrinking.") var inward = false
    @Flag(name: .customLong("out"), help: "Only growth.") var outward = false

    /// Neither or both: both.
    var word: String { inward == outward ? "both" : inward ? "in" : "out" }
}

struct AutoscalePause: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pause", abstract: "Keep the autoscaler from shrinking an app, from growing it, or from both.")
    @Argument(help: "The app.", completion: .apps) var name: String
    @OptionGroup var direction: ScaleDirection
    @Option(name: .customLong("for"), help: "How long, 1s to 30d; until it is resumed, when left out.") var length:
        String?
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        var body: [String: JSONValue] = ["action": "pause", "direction": .string(direction.word)]
        if let length {
            body["forSeconds"] = JSONValue(
                try ShortDuration.seconds(length, option: "--for", 1...AutoscaleChange.longestSeconds))
        }
        try await AutoscaleAnswer.post(name, .object(body), options)
    }
}

struct AutoscaleResume: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "resume", abstract: "Let the autoscaler go on.")
    @Argument(help: "The app.", completion: .apps) var name: String
    @OptionGroup var direction: ScaleDirection
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        try await AutoscaleAnswer.post(
            name, ["action": "resume", "direction": .string(direction.word)], options)
    }
}

private enum AutoscaleAnswer {
    static func post(_ name: String, _ body: JSONValue, _ options: GlobalOptions) async throws {
        try await options.show {
            try await $0.post(APIClient.appPath(name, "/autoscale"), body, app: name)
        } table: { answer in
            func state(_ key: String) -> String {
                guard let pause = answer[key], pause != .null else { return "on" }
                guard let until = pause["until"], until != .null else { return "paused until resumed" }
                return "paused until \(Output.time(until))"
            }
            return "\(name): scale-out \(state("paused_out")), scale-in \(state("paused_in"))."
        }
    }
}

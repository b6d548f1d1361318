import ArgumentParser
import OrchestryModel

struct Top: AsyncParsableCommand {
    enum Order: String, ExpressibleByArgument, CaseIterable { case name, rps, p95, cpu, memory, flight, replicas }

    static let configuration = CommandConfiguration(
        commandName: "top",
        abstract: "Show every app's load of now: a table that is drawn anew, or one table when nobody watches.",
        discussion: """
            Figures are over each app's window (20 s unless its policy says otherwise): requests per second and requests \
            in flight of all instances together, CPU and memory as the mean share of an instance's limit.
              orchestry top --sort rps
              orchestry top -o json | jq '.apps[] | select(.cpu_percent > 80)'
            On a terminal it runs until it is interrupted (^C); --once, or output to a file, gives one table.
            """)
    @Option(help: "Largest first, by rps, p95, cpu, memory, flight or replicas; or by name.") var sort: Order = .rps
    @Option(help: "Seconds between two looks, 1 to 60.") var every = 2
    @Flag(help: "One table, on a terminal too.") var once = false
    @OptionGroup var options: GlobalOptions

    func validate() throws {
        guard (1...60).contains(every) else { throw ArgumentParser.ValidationError("--every must be 1 to 60 seconds") }
    }

    func run() async throws {
        let isLive = Terminal.outputIsTerminal && !once && (options.output == .table || options.output == .wide)
        try await options.withClient { client in
            guard isLive else {
                return Output.show(try await client.get("/metrics/apps"), as: options.output) { table($0) }
            }
            while true {
                let text: String
                do {
                    text = table(try await client.get("/metrics/apps"))
                } catch let failure as CommandFailure where failure.mayPass {
                    text = failure.message
                }
                print(Terminal.clear + Self.fitted(text, to: Terminal.height))
                Output.flush()
                try await Task.sleep(for: .seconds(every))
            }
        }
    }

    /// The first lines, and how many there are beside them.
    static func fitted(_ text: String, to height: Int?) -> String {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        // One for the cursor.
        guard let height, height > 3, lines.count >= height else { return text }
        let shown = lines.prefix(height - 2)
        return shown.joined(separator: "\n") + "\n… \(lines.count - shown.count) more (--sort, or --once)"
    }

    func table(_ answer: JSONValue) -> String {
        let apps = (answer["apps"]?.arrayValue ?? []).sorted(by: precedes)
        guard !apps.isEmpty else { return "No apps yet. Register one: orchestry apply FILE --up" }
        return Output.table(
            ["APP", "STATUS", "READY", "WANTED", "RPS", "P95 MS", "IN FLIGHT", "CPU", "MEMORY"],
            apps.map { app in
                ["app", "status", "ready_replicas", "replicas", "rps", "p95_latency_ms", "active_connections"].map {
                    Output.cell(app[$0])
                } + [Output.percent(app["cpu_percent"]), Output.percent(app["memory_percent"])]
            })
    }

    private func precedes(_ left: JSONValue, _ right: JSONValue) -> Bool {
        let key =
            switch sort {
            case .name: ""
            case .rps: "rps"
            case .p95: "p95_latency_ms"
            case .cpu: "cpu_percent"
            case .memory: "memory_percent"
            case .flight: "active_connections"
            case .replicas: "replicas"
            }
        let (first, second) = (left[key]?.doubleValue ?? -1, right[key]?.doubleValue ?? -1)
        if first != second { return first > second }
        return (left["app"]?.stringValue ?? "") < (right["app"]?.stringValue ?? "")
    }
}

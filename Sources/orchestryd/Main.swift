import ArgumentParser
import Foundation
import Logging
import NodeConfiguration
import NodeRuntime
import OrchestryModel
import RecordArchive
import ServiceLifecycle
import UnixSignals

@main
struct Orchestryd: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "orchestryd", abstract: "A node of an Orchestry cluster.",
        discussion: """
            Settings come from defaults, then the file, then a .env file, then the environment (ORCHESTRY_…, and the
            original's names); some can be changed at run time (orchestry settings).
            SIGTERM and SIGINT stop it gracefully: leadership is handed over, containers and nginx keep running.
            SIGHUP reads the certificate files again.
            """,
        version: "orchestryd 0.1.0",
        subcommands: [Run.self, Config.self, Archive.self], defaultSubcommand: Run.self)
}

/// `--config`, shared by all subcommands.
struct ConfigOptions: ParsableArguments {
    @Option(name: .long, help: "YAML file with settings; also ORCHESTRY_CONFIG.")
    var config: String?

    @Option(
        name: .long,
        help:
            "File with NAME=value lines, between the YAML file and the environment; also ORCHESTRY_ENV_FILE. Default: .env here, where there is one."
    )
    var envFile: String?

    func environmentFile() throws -> EnvironmentFile? {
        let named = envFile ?? ProcessInfo.processInfo.environment["ORCHESTRY_ENV_FILE"]
        if let named { return try EnvironmentFile(path: named) }
        return FileManager.default.fileExists(atPath: ".env") ? try EnvironmentFile(path: ".env") : nil
    }

    var file: String? { config ?? ProcessInfo.processInfo.environment["ORCHESTRY_CONFIG"] }
}

struct Run: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Run the node (the default).")
    @OptionGroup var options: ConfigOptions

    func run() async throws {
        let configuration: NodeConfiguration
        do {
            configuration = try await NodeConfiguration.load(
                file: options.file, environmentFile: options.environmentFile(),
                environment: ProcessInfo.processInfo.environment)
        } catch {
            throw Refusal("\(error)")
        }
        JSONLogHandler.setLevel(configuration.dynamic.logLevel)
        let format: JSONLogHandler.Format = configuration.logFormat == "text" ? .text : .json
        LoggingSystem.bootstrap { JSONLogHandler(label: $0, format: format) }
        let logger = Logger(label: "orchestryd")
        let node: Node
        do {
            node = try Node.make(configuration: configuration, logger: logger)
        } catch {
            logger.critical("The node can't start", metadata: ["error": "\(error)"])
            throw ExitCode(1)
        }
        var group = ServiceGroupConfiguration(
            services: [
                .init(service: HangUps(node: node), successTerminationBehavior: .ignore),
                .init(service: node, successTerminationBehavior: .gracefullyShutdownGroup),
            ],
            gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
        group.maximumGracefulShutdownDuration = .seconds(10)
        try await ServiceGroup(configuration: group).run()
    }
}

/// SIGHUP: what an operator sends after copying new certificates.
struct HangUps: Service {
    let node: Node
    func run() async throws {
        for await _ in await UnixSignalsSequence(trapping: .sighup).cancelOnGracefulShutdown() {
            node.rereadCertificates()
        }
    }
}

struct Config: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Look at the configuration without starting.", subcommands: [Check.self, Show.self])

    struct Check: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Say what is wrong with it; exit 1 if anything is.")
        @OptionGroup var options: ConfigOptions

        func run() async throws {
            do {
                let found = try await NodeConfiguration.load(
                    file: options.file, environmentFile: options.environmentFile(),
                    environment: ProcessInfo.processInfo.environment)
                print("The configuration of \(found.node.role) \(found.node.id) is good.")
            } catch {
                throw Refusal("\(error)")
            }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Every setting, its value and where it comes from.")
        @OptionGroup var options: ConfigOptions

        func run() async throws {
            do {
                let layers = try await ConfigurationLayers(
                    file: options.file, environmentFile: options.environmentFile(),
                    environment: ProcessInfo.processInfo.environment)
                for key in ConfigurationKey.catalogue {
                    let entry = layers.entries[key.name]
                    let value = entry?.shown ?? "(not set)"
                    print(
                        "\(key.name): \(value.isEmpty ? "''" : value)   # \(entry?.source ?? "no default"); \(key.summary)"
                            + (DynamicSettings.names.contains(key.name)
                                ? " (`orchestry settings` may say otherwise)" : "")
                    )
                }
            } catch {
                throw Refusal("\(error)")
            }
        }
    }
}

struct Archive: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Look at what retention has archived.", subcommands: [Check.self])

    struct Check: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Read every file of an archive folder and compare it with its manifest; exit 1 if one is damaged."
        )
        @Argument(help: "The folder: retention.archive_dir.") var folder: String

        func run() throws {
            let report: ArchiveFolder.Report
            do {
                report = try ArchiveFolder(path: folder).check()
            } catch {
                throw Refusal("\(error)")
            }
            let rows = report.good.reduce(0) { $0 + $1.rows }
            print("\(report.good.count) files with \(rows) rows are good.")
            guard report.problems.isEmpty else {
                throw Refusal(report.problems.map { "  - \($0)" }.joined(separator: "\n"))
            }
        }
    }
}

/// Something the operator has to mend: printed as it is, exit status 1.
struct Refusal: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}

import ArgumentParser
import Foundation
import OrchestryModel

struct Initialize: ParsableCommand {
    enum Kind: String, ExpressibleByArgument, CaseIterable { case http, tcp, worker }

    static let configuration = CommandConfiguration(
        commandName: "init", abstract: "Write a commented spec to begin with.",
        discussion: """
            Printed, or written to a file with --to. It is in order as it stands; what is commented out shows what else \
            there is. Nothing is asked of a cluster.
              orchestry init shop --image registry.example/shop:4.2 --port 8080 --to shop.yaml
              orchestry apply shop.yaml --dry-run
            """)
    @Argument(help: "The app: a DNS label.") var name: String
    @Option(help: "Its image.") var image = "registry.example/change-me:1.0"
    @Option(help: "http, tcp (nothing routes to it by host name) or worker (no port).") var type: Kind = .http
    @Option(help: "The port it listens on.") var port = 8080
    @Option(help: ArgumentHelp("Write to this file, which must not be there.", valueName: "file")) var to: String?

    func run() throws {
        let text = Self.spec(name: name, image: image, kind: type, port: port)
        do {
            _ = try AppSpec.parse(try YAMLText.read(text, from: "the spec"))
        } catch let error as OrchestryModel.ValidationError {
            // Name, image or port, as they were given.
            throw CommandFailure.usage(error.description)
        }
        guard let to else { return print(text, terminator: "") }
        guard !FileManager.default.fileExists(atPath: to) else {
            throw CommandFailure.local("\(to) is there already: name another file, or remove it first")
        }
        do {
            try text.write(toFile: to, atomically: true, encoding: .utf8)
        } catch {
            throw CommandFailure.local("\(to) cannot be written: \(error.localizedDescription)")
        }
        print("Wrote \(to).\nNext: orchestry apply \(to) --dry-run, then orchestry apply \(to) --up --wait")
    }

    /// In order for the parser as long as name, image and port are.
    static func spec(name: String, image: String, kind: Kind, port: Int) -> String {
        [head(name, image, kind, port), routing(name, kind), scaling(kind), checks(kind, port)]
            .filter { !$0.isEmpty }.joined(separator: "\n") + "\n"
    }

    private static func head(_ name: String, _ image: String, _ kind: Kind, _ port: Int) -> String {
        let protocolName = kind == .http ? "HTTP" : "TCP"
        let ports =
            kind == .worker
            ? "  # A worker has no ports: nothing is routed to it."
            : """
              ports:
                - {containerPort: \(port), protocol: \(protocolName)}
            """
        return """
            # orchestry apply FILE --dry-run   what it would do
            # orchestry apply FILE --up --wait  do it
            apiVersion: v1
            kind: App
            metadata:
              name: \(name)
              # labels: {team: web}
            spec:
              type: \(kind.rawValue)
              image: \(image)
              # pullPolicy: Always            # or IfNotPresent (the default), Never
              # imagePullSecret: registry     # orchestry secret set registry: user:password
            \(ports)
              resources: {cpu: 250m, memory: 256Mi}   # of one instance: hard limits, and what is reserved on its node
              # command: [/app, --serve]      # instead of the image's entry point; args: [...] instead of its arguments
              # environment:
              #   - {name: LOG_LEVEL, value: info}
              #   - {name: APP, source: sdk, key: app.name}             # also instance.ip, instance.port, app.replicas
              #   - {name: DB_PASSWORD, source: secret, key: \(name)-db}  # orchestry secret set \(name)-db < FILE
              # volumes:
              #   - "data:/data"              # a volume of the instance's node
              #   - {type: tmpfs, target: /cache, size: 64Mi}
              # security: {readOnlyRootFilesystem: true}   # allowRoot: true for an image that insists on root
              # termination: {drainSeconds: 30, gracePeriodSeconds: 10}
              # rollout: {maxSurge: 1, maxUnavailable: 0, progressDeadlineSeconds: 120}
            """
    }

    private static func routing(_ name: String, _ kind: Kind) -> String {
        guard kind == .http else { return "" }
        return """
              # routing:
              #   hosts: [\(name).example.com]  # the app's name, when left out
              #   pathPrefix: /
              #   tls: {certificateSecret: \(name)-crt, keySecret: \(name)-key}
              #   allow: [10.0.0.0/8]
            """
    }

    private static func scaling(_ kind: Kind) -> String {
        let targets =
            kind == .http
            ? """
              targetRPSPerReplica: 50         # requests per second that one instance carries
              # maxP95LatencyMs: 300
              # maxCPUPercent: 70             # of its limit
            """
            : """
              maxCPUPercent: 70               # of an instance's limit
            """
        return """
            scaling:
              minReplicas: 1
              maxReplicas: 5
            \(targets)
              # schedules:
              #   - {name: day, start: "0 8 * * mon-fri", end: "0 18 * * mon-fri", timeZone: Europe/Berlin, minReplicas: 3}
            """
    }

    private static func checks(_ kind: Kind, _ port: Int) -> String {
        switch kind {
        case .http:
            """
            healthCheck:                      # decides about traffic; without it the port must take connections
              path: /
              port: \(port)
              periodSeconds: 5
              # expectedStatusCodes: ["2xx", "3xx"]
            # livenessCheck: {path: /alive, port: \(port), periodSeconds: 20}   # failing it, the container is replaced
            """
        case .tcp:
            """
            healthCheck: {protocol: TCP, port: \(port), periodSeconds: 5}
            """
        case .worker:
            """
            # healthCheck: {command: [/app, --alive], periodSeconds: 20}   # a program in the container that ends with 0
            """
        }
    }
}

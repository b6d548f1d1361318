import ArgumentParser
import OrchestryModel

struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "list", abstract: "List all apps.")
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        try await options.show {
            try await $0.get("/apps")
        } table: { answer in
            let isWide = options.output == .wide
            let more = isWide ? ["TYPE", "HOSTS", "MIN", "MAX", "UPDATED", "LAST SCALED"] : []
            return Output.table(
                of: "apps", in: answer, none: "No apps yet. Register one: orchestry apply FILE --up",
                ["NAME", "STATUS", "READY", "WANTED", "MODE", "REVISION", "IMAGE"] + more
            ) { app in
                let status = app["idle"] == true ? "idle" : Output.cell(app["status"])
                return [Output.cell(app["name"]), status]
                    + ["ready_replicas", "replicas", "mode", "revision"].map { Output.cell(app[$0]) }
                    + [Output.cell(app["spec"]?["image"])] + (isWide ? wideCells(app) : [])
            }
        }
    }

    /// Hosts and bounds as the document has them: `-` where it leaves them to the defaults.
    private func wideCells(_ app: JSONValue) -> [String] {
        let hosts = (app["spec"]?["routing"]?["hosts"]?.arrayValue ?? []).compactMap(\.stringValue)
        return [
            Output.cell(app["spec"]?["type"]), hosts.isEmpty ? "-" : hosts.joined(separator: ","),
            Output.cell(app["spec"]?["scaling"]?["minReplicas"]), Output.cell(app["spec"]?["scaling"]?["maxReplicas"]),
            Output.time(app["updated_at"]), Output.time(app["last_scaled_at"]),
        ]
    }
}

struct Status: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "status", abstract: "Show an app and its instances.")
    @Argument(help: "The app.", completion: .apps) var name: String
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        try await options.show {
            try await $0.get(APIClient.appPath(name, "/status"), app: name)
        } table: {
            table($0, isWide: options.output == .wide)
        }
    }

    private func table(_ answer: JSONValue, isWide: Bool) -> String {
        let wanted = answer["desired_replicas"] ?? answer["replicas"]
        let isIdle = answer["idle"] == true
        var facts = [
            ("App", Output.cell(answer["app"])),
            ("Status", isIdle ? "idle, starts with the first request" : Output.cell(answer["status"])),
            ("Ready", "\(Output.cell(answer["ready_replicas"])) of \(Output.cell(wanted)) wanted"),
            ("Mode", Output.cell(answer["mode"])), ("Revision", Output.cell(answer["revision"])),
        ]
        if let waiting = answer["waiting_requests"]?.intValue, waiting > 0 {
            facts.append(("Waiting", "\(waiting) request\(waiting == 1 ? "" : "s") for its first instance"))
        }
        if let rollout = answer["rollout"], rollout != .null { facts.append(("Rollout", RolloutText.line(rollout))) }
        if let explanation = answer["explanation"]?.stringValue { facts.append(("Note", explanation)) }
        var text = Output.facts(facts)
        let instances = answer["instances"]?.arrayValue ?? []
        if instances.isEmpty {
            if answer["status"] == "stopped" { text += "\nStart it with: orchestry up \(name)" }
        } else {
            text +=
                "\n\n"
                + Output.table(
                    ["INSTANCE", "NODE", "STATE", "ADDRESS", "CPU", "MEMORY", "RESTARTS", "CONTAINER"]
                        + (isWide ? ["REVISION", "SINCE", "EXIT", "OOM"] : []) + ["MESSAGE"],
                    instances.map { row($0, isWide: isWide) })
        }
        return text
    }

    private func row(_ instance: JSONValue, isWide: Bool) -> [String] {
        let address = instance["ip"]?.stringValue.map { ip in
            "\(ip.contains(":") ? "[\(ip)]" : ip):\(Output.cell(instance["port"]))"
        }
        let isMeasured = instance["measured"]?.boolValue ?? true
        return [
            Output.cell(instance["instance"]), Output.cell(instance["node"]), Output.cell(instance["state"]),
            address ?? "-", isMeasured ? Output.percent(instance["cpu_percent"]) : "-",
            isMeasured ? Output.percent(instance["memory_percent"]) : "-", Output.cell(instance["restarts"]),
            Output.cell(instance["container_id"]),
        ]
            + (isWide
                ? [
                    Output.cell(instance["revision"]), Output.time(instance["since"]),
                    Output.cell(instance["exit_code"]), Output.cell(instance["out_of_memory"]),
                ] : [])
            + [Output.cell(instance["message"])]
    }
}

struct Spec: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "spec",
        abstract: "Show what an app was registered with.", discussion: "Printed as YAML unless -o json is given.")
    @Argument(help: "The app.", completion: .apps) var name: String
    @Flag(help: "Only the stored document, without the app's state.") var raw = false
    @Flag(help: "As a file for `register` and `apply`.") var document = false
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        try await options.withClient { client in
            let answer = try await client.get(APIClient.appPath(name, "/raw"), app: name)
            var shown = answer["raw"] ?? .null
            if document {
                shown = AppSpec.document(flat: shown, name: AppName(unchecked: name))
            } else if !raw {
                var parsed = answer["parsed"]?.objectValue ?? [:]
                parsed["created_at"] = nil
                parsed["updated_at"] = nil
                shown = .object(parsed)
            }
            Output.show(shown, as: options.output == .json ? .json : .yaml) { _ in "" }
        }
    }
}

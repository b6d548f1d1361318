import OrchestryModel
import RestFacade
import Synchronization

/// A cluster's registrations, as a leader's are made and planned, in memory.
final class SpecCluster: Sendable {
    private let applications = Mutex<[AppName: Application]>([:])

    subscript(name: String) -> Application? {
        get { applications.withLock { $0[AppName(unchecked: name)] } }
        set { applications.withLock { $0[AppName(unchecked: name)] = newValue } }
    }

    @Sendable func answer(_ request: ControlRequest, _ number: Int) -> ControlResponse {
        do {
            return try applications.withLock { try perform(request.operation, &$0) }
        } catch let problem as Problem {
            return ControlResponse(problem)
        } catch let error as ValidationError {
            return ControlResponse(.invalid(error))
        } catch {
            return ControlResponse(status: 500, body: ["title": .string("\(error)")])
        }
    }

    private func perform(
        _ operation: Operation, _ applications: inout [AppName: Application]
    ) throws -> ControlResponse {
        switch operation {
        case .plan(let documents):
            var planned = applications
            let plans = try documents.map { document in
                let (spec, flat) = try AppSpec.parse(document)
                let next = registered(spec, flat, planned[spec.name])
                defer { planned[spec.name] = next }
                return SpecPlan(to: next, from: planned[spec.name])
            }
            return ControlResponse(body: Presentation.plan(plans))
        case .register(let document, let condition):
            let (spec, flat) = try AppSpec.parse(document)
            try condition?.check(applications[spec.name], name: spec.name)
            let next = registered(spec, flat, applications[spec.name])
            applications[spec.name] = next
            return ControlResponse(body: Presentation.registered(spec.name, revision: next.revision))
        case .start(let name):
            guard var application = applications[name] else { throw Problem.appNotFound(name) }
            application.status = .running
            application.replicas = application.spec.scaling.minReplicas
            applications[name] = application
            return ControlResponse(
                body: Presentation.started(name, replicas: application.replicas, adopted: 0, started: 1))
        case .appDocument(let name):
            guard let application = applications[name] else { throw Problem.appNotFound(name) }
            return ControlResponse(body: Presentation.appDocument(application))
        case .appStatus(let name):
            guard let application = applications[name] else { throw Problem.appNotFound(name) }
            let instances = (0..<application.replicas).map { number in
                InstanceStatus(
                    instance: InstanceID(unchecked: "\(name)-\(application.revision)-\(number)"), app: name,
                    revision: application.revision, node: NodeID(unchecked: "n"), state: .ready,
                    since: WallTime(seconds: 1))
            }
            return ControlResponse(body: Presentation.appStatus(application, instances: instances))
        default: throw Problem(status: 501, code: "not-here", title: "Not here", detail: "\(operation)")
        }
    }

    private func registered(_ spec: AppSpec, _ flat: JSONValue, _ current: Application?) -> Application {
        guard var application = current else {
            return Application(
                spec: spec, document: flat, revision: 1, status: .stopped, replicas: 0,
                createdAt: WallTime(seconds: 1), updatedAt: WallTime(seconds: 1))
        }
        if AppSpec.needsNewRevision(from: application.spec, to: spec) { application.revision += 1 }
        application.spec = spec
        application.document = flat
        return application
    }
}

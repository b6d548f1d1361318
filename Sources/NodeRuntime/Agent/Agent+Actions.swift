import DockerEngine
import HealthProbes
import Logging
import OrchestryModel
import Scheduling
import SecretSealing

/// Carrying out what an instance's lifecycle asks for. Each engine action has exactly one answer, which comes back as an
/// input.
extension Agent {
    func jobs(for actions: [InstanceLifecycle.Action], of instance: InstanceID) -> [Job] {
        guard let managed = instances[instance] else { return [] }
        var work: [Job] = []
        for action in actions {
            switch action {
            case .ensureImage: work.append(ensureImage(of: managed.assignment))
            case .startContainer: work.append(startContainer(of: managed.assignment, epoch: managed.epoch))
            case .stopContainer(let container, let graceSeconds):
                work.append(stopContainer(container, graceSeconds: graceSeconds, of: instance))
            case .removeContainer(let container): work.append(removeContainer(container, of: instance))
            case .startProbing(let endpoint): startProbing(managed.assignment, endpoint)
            case .stopProbing: prober.stop(instance)
            case .statusChanged(let status):
                logger.debug(
                    "Instance status",
                    metadata: ["instance": "\(instance)", "state": "\(status.state.label)", "why": "\(status.message)"])
                if settled { onStatus(status) }
            case .record(let kind, let message, let details):
                onEvent(kind, managed.assignment.app, message, details)
            case .wake(let due): work.append(wake(instance, at: due))
            case .finished:
                prober.stop(instance)
                instances[instance] = nil
                onChange()
            }
        }
        return work
    }

    private func ensureImage(of assignment: Assignment) -> Job {
        let (engine, keys, images, clock) = (engine, secretKeys, images, clock)
        return { [weak self] in
            let spec = assignment.spec
            var pulled = false
            do {
                let present = try await engine.imageIsPresent(spec.image)
                switch spec.pullPolicy {
                case .never where !present:
                    self?.submit(
                        .lifecycle(
                            assignment.instance,
                            .imageFailed("image \(spec.image) is not on this node and pullPolicy is Never")))
                    return
                case .ifNotPresent where !present, .always:
                    try await engine.pull(
                        spec.image,
                        registryAuthentication: try spec.registryAuthentication(assignment.secrets, with: keys))
                    pulled = !present
                case .never, .ifNotPresent: break
                }
                await images.used(spec.image, by: spec.name, pulled: pulled, at: clock.wall())
                self?.submit(.lifecycle(assignment.instance, .imagePresent))
            } catch {
                self?.submit(.lifecycle(assignment.instance, .imageFailed("\(error)")))
            }
        }
    }

    private func startContainer(of assignment: Assignment, epoch: Epoch) -> Job {
        let (engine, keys, starts) = (engine, secretKeys, starts)
        return { [weak self] in
            do {
                let container = try await starts.withLock {
                    try await engine.start(
                        assignment, epoch: epoch, secrets: try assignment.openSecrets(with: keys))
                }
                await self?.noteEndpoints(of: container.container, assignment.instance)
                self?.submit(
                    .lifecycle(
                        assignment.instance,
                        .containerStarted(containerID: container.id, endpoint: container.endpoint)))
                guard !container.isRunning else { return }
                // It ended at once, perhaps while the engine's events were not followed.
                await self?.reportExit(
                    of: container.id, assignment.instance, code: container.container.exitCode ?? -1)()
            } catch {
                self?.submit(.lifecycle(assignment.instance, .startFailed("\(error)")))
            }
        }
    }

    private func noteEndpoints(of container: ManagedContainer, _ instance: InstanceID) {
        instances[instance]?.probeEndpoint = container.probeEndpoint
        instances[instance]?.livenessEndpoint = container.livenessEndpoint
    }

    private func stopContainer(_ container: String, graceSeconds: Int, of instance: InstanceID) -> Job {
        let engine = engine
        return { [weak self] in
            do {
                try await engine.stop(container, graceSeconds: graceSeconds)
                let details = try? await engine.inspect(container)  // Gone already: stopped is all that matters.
                self?.submit(
                    .lifecycle(
                        instance,
                        .containerExited(
                            containerID: container, code: details?.exitCode ?? 0,
                            outOfMemory: details?.outOfMemory ?? false, lastLogLines: [])))
            } catch {
                self?.submit(.lifecycle(instance, .removeFailed("\(error)")))
            }
        }
    }

    private func removeContainer(_ container: String, of instance: InstanceID) -> Job {
        let engine = engine
        let spec = instances[instance]?.assignment.spec
        let isolated = spec?.isIsolated == true ? spec?.name : nil
        return { [weak self] in
            do {
                try await engine.remove(container)
                if let isolated { await engine.removeUnusedNetworks(of: isolated) }
                self?.submit(.lifecycle(instance, .containerRemoved))
            } catch {
                self?.submit(.lifecycle(instance, .removeFailed("\(error)")))
            }
        }
    }

    private func startProbing(_ assignment: Assignment, _ endpoint: Endpoint?) {
        let managed = instances[assignment.instance]
        let run = commandRunner(in: managed?.lifecycle.status.containerID)
        // An adopted one is judged by its first failures, which must not come within a moment.
        let isNew = managed.map { $0.lifecycle.status.state == .starting && !$0.trustedFromBefore } ?? false
        if assignment.spec.health.kind != .none {
            prober.start(
                assignment.instance, check: assignment.spec.health, probeEndpoint: managed?.probeEndpoint ?? endpoint,
                isNew: isNew, runCommand: run
            ) { [weak self] instance, result in
                switch result.outcome {
                case .success: self?.submit(.lifecycle(instance, .probeSucceeded))
                case .failure(let failure): self?.submit(.lifecycle(instance, .probeFailed("\(failure)")))
                }
            }
        } else {
            prober.stop(assignment.instance, .readiness)
        }
        guard let liveness = assignment.spec.liveness else { return prober.stop(assignment.instance, .liveness) }
        prober.start(
            assignment.instance, purpose: .liveness, check: liveness,
            probeEndpoint: managed?.livenessEndpoint ?? endpoint, runCommand: run
        ) { [weak self] instance, result in
            switch result.outcome {
            case .success: self?.submit(.lifecycle(instance, .livenessSucceeded))
            case .failure(let failure): self?.submit(.lifecycle(instance, .livenessFailed("\(failure)")))
            }
        }
    }

    private func commandRunner(in container: String?) -> HealthProber.CommandRunner? {
        guard let container else { return nil }
        let engine = engine
        return { command, limit async throws(ProbeFailure) -> Int in
            do throws(EngineError) {
                return try await engine.execute(command, in: container, timeout: limit).exitCode
            } catch {
                throw error.code == .timeout ? .timeout(limit) : .notRun(error.message)
            }
        }
    }

    private func wake(_ instance: InstanceID, at due: Instant) -> Job {
        let clock = clock
        return { [weak self] in
            let wait = due - clock.now()
            if wait > .zero { try? await Task.sleep(for: wait) }  // Cancelled: the node stops.
            self?.submit(.lifecycle(instance, .tick))
        }
    }
}

/// What a registry secret holds that is not one.
struct RegistrySecretError: Error, CustomStringConvertible {
    var name: SecretName
    var description: String {
        "secret '\(name)' is no registry's: it must be user:password, or JSON with username and password, or with auths"
    }
}

extension AppSpec {
    /// The engine's header for pulling the image; nil: without a user.
    /// - Throws: `SecretSealingError`, `RegistrySecretError`.
    func registryAuthentication(_ secrets: [SealedSecret], with keys: SecretKeys?) throws -> String? {
        guard let name = imagePullSecret, let sealed = secrets.first(where: { $0.name == name }) else { return nil }
        guard let keys else { throw SecretSealingError.notConfigured }
        guard let credentials = RegistryCredentials(try keys.open(sealed), image: image) else {
            throw RegistrySecretError(name: name)
        }
        return credentials.header(for: image)
    }
}

extension Assignment {
    /// The values its environment names. In memory no longer than a start takes.
    func openSecrets(with keys: SecretKeys?) throws(SecretSealingError) -> [SecretName: String] {
        var values: [SecretName: String] = [:]
        for name in spec.environmentSecrets {
            // What is missing, the engine's answer names.
            guard let sealed = secrets.first(where: { $0.name == name }) else { continue }
            guard let keys else { throw .notConfigured }
            values[name] = try keys.open(sealed)
        }
        return values
    }
}

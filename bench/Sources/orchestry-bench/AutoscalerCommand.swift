import ArgumentParser
import Measuring
import OrchestryModel
import ScalingSimulation

/// The race of scaling rules over made-up loads. Nothing is timed: the same numbers on any machine.
struct AutoscalerCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "autoscaler",
        abstract: "Our policy beside the HPA's, Knative's and the original's rule, second by second.",
        discussion: """
            The same simulation as `orchestry simulate --race`: a step of 25 times the load, a saw-tooth, a ramp, a spike of \
            one sample, an outage of the metrics in mid-peak, one hot instance of ten, a deploy in mid-peak.
            """)

    @OptionGroup var output: OutputOptions

    func validate() throws {
        try require(output.baseline == nil, "--baseline compares times; this has none, and is the same in each run")
    }

    func run() {
        let race = Race()
        print(output.json ? race.json.jsonText(pretty: true) : race.text)
    }
}

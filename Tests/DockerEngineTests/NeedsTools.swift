import TestSupport
import Testing

extension Trait where Self == ConditionTrait {
    static var needsTools: Self {
        .enabled(if: ToolsImage.isPossible, "no container engine, or no busybox (busybox-static)")
    }
}

using TorchSharp;

namespace KvCache.InferenceNode;

/// <summary>How many threads libtorch uses: a setting of the whole process.</summary>
public static class TorchThreads
{
    private const int SmallHiddenSize = 512;

    /// <summary>
    /// Uses one thread if the model is small, and leaves libtorch's default (one per core) otherwise. A product of small matrices takes
    /// microseconds, and then the threads cost more than they bring: on two busy cores, 84 tokens/s became 1,084.
    /// </summary>
    public static void Fit(LlamaConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        if (config.HiddenSize <= SmallHiddenSize)
            torch.set_num_threads(1);
    }
}

namespace KvCache.Bench.Memory;

/// <summary>Whether libtorch can be used here.</summary>
internal static class LibTorch
{
    /// <returns>Why it does not load; null when it does.</returns>
    public static string? WhyNot()
    {
        try
        {
            global::TorchSharp.torch.InitializeDeviceType(global::TorchSharp.DeviceType.CPU);
            return null;
        }
        catch (Exception e) when (e is TypeInitializationException or NotSupportedException or DllNotFoundException)
        {
            return $"libtorch does not load here: {e.GetBaseException().Message}";
        }
    }
}

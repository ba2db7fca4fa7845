using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace KvCache.Client.Hosting;

/// <summary>Of which caches a registered <see cref="TieredKvCache"/> is made.</summary>
internal sealed class TieredSettings
{
    public string Near { get; set; } = "";

    public string Far { get; set; } = "";

    public TimeSpan? NearLife { get; set; }

    /// <summary>Finds the names of caches that nobody has registered.</summary>
    public sealed class Validator(IServiceProviderIsKeyedService? services = null) : IValidateOptions<TieredSettings>
    {
        public ValidateOptionsResult Validate(string? name, TieredSettings options)
        {
            string[] missing = [.. new[] { options.Near, options.Far }.Where(
                cache => services?.IsKeyedService(typeof(IKvCache), cache) == false)];
            return missing.Length == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(missing.Select(
                cache => $"A TieredKvCache is to be made of a cache with the key '{cache}', which is not registered; AddKeyedLocalKvCache, "
                    + "AddKeyedKvCacheClient or another registration with this key was expected."));
        }
    }
}

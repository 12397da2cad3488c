// id: ERR-1
// title: A device fails when the data that it resumes from are not whole, as the header allows
// class: wrong state
// promise: P8
// origin: plausible
// device: mtty
// oracle: assertion
// kind: deterministic
// file: samples/vfio-mdev/mtty.c
// changes: 2
// see: a driver in ERROR must not ask vfio_mig_get_next_state(), which warns of that state though its table has a row for it; so this one answers by itself, as pds does

@@
expression ret, mdev_state;
@@
mtty_step_state(...)
{
	<...
	ret = mtty_load_state(mdev_state);
+	if (ret)
+		mdev_state->state = VFIO_DEVICE_STATE_ERROR;
	...>
}

@@
expression mdev_state;
@@
mtty_set_state(...)
{
	<...
	mutex_lock(&mdev_state->state_mutex);
+	if (mdev_state->state == VFIO_DEVICE_STATE_ERROR) {
+		mtty_state_mutex_unlock(mdev_state);
+		return ERR_PTR(-EIO);
+	}
	...>
}

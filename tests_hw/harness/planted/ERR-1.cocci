// id: ERR-1
// title: A device that is told to go on from what is not whole has failed, as the header allows
// class: wrong state
// promise: P8
// origin: plausible
// device: mtty
// oracle: assertion
// kind: deterministic
// file: samples/vfio-mdev/mtty.c
// changes: 2

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
